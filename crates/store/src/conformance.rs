//! The stories every backend must pass.
