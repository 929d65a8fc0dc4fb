//! Randomness as a parameter.

/// Gives numbers that spread renewals and retries; a test gives chosen ones.
pub trait Chance {
    /// A number in `[0, 1)`.
    fn unit(&mut self) -> f64;
}

impl<F: FnMut() -> f64> Chance for F {
    fn unit(&mut self) -> f64 {
        self()
    }
}
