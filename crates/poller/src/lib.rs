//! Polls an API for many agents on schedule and keeps the ledger of gaps.
