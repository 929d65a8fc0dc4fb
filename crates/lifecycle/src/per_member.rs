//! One value for each member of a pool.

use std::ops::{Deref, DerefMut};

/// One value for each member of a pool, in order. Nearly every pool has one member, and its value
/// needs no allocation of its own.
#[derive(Clone, Debug)]
pub struct PerMember<T>(Values<T>);

#[derive(Clone, Debug)]
enum Values<T> {
    One([T; 1]),
    Many(Box<[T]>),
}

impl<T> Deref for PerMember<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match &self.0 {
            Values::One(value) => value,
            Values::Many(values) => values,
        }
    }
}

impl<T> DerefMut for PerMember<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        match &mut self.0 {
            Values::One(value) => value,
            Values::Many(values) => values,
        }
    }
}

impl<T> FromIterator<T> for PerMember<T> {
    fn from_iter<I: IntoIterator<Item = T>>(values: I) -> Self {
        let values: Box<[T]> = values.into_iter().collect();
        Self(match <Box<[T; 1]>>::try_from(values) {
            Ok(value) => Values::One(*value),
            Err(values) => Values::Many(values),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_value_or_many_read_alike() {
        for count in [0, 1, 2, 40] {
            let mut values: PerMember<usize> = (0..count).collect();
            values.iter_mut().for_each(|value| *value += 1);
            assert_eq!(*values, (1..=count).collect::<Vec<_>>());
            assert_eq!(matches!(values.0, Values::One(_)), count == 1);
        }
    }
}
