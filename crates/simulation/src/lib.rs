//! A simulated authorization server and API as pure machines with a ledger.
