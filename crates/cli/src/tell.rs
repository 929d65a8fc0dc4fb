//! What is said beside a result, on standard error.

/// A line on standard error. A log that is full or that nobody reads must not end the program.
macro_rules! tell {
    ($($told:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr(), $($told)*);
    }};
}

pub(crate) use tell;
