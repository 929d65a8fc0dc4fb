//! The two listeners: gateway for callers, admin for operators.
