//! The classes of refresh token rotation, as the configuration and the judge know them.

use std::time::Duration;

use bellwether_simulation::Rotation;
use serde::Serialize;

/// How long a spent refresh token is taken again, where a class has a window.
const WINDOW: Duration = Duration::from_secs(30);

/// What a second use of a refresh token does (R0 to R5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Class {
    /// R0: nothing, it never changes.
    None,
    /// R1: revokes the family.
    Strict,
    /// R2: another pair, for a while.
    NewPair,
    /// R3: the same pair, for a while.
    SamePair,
    /// R4: another pair, until one of them is used.
    UntilAcknowledged,
    /// R5: another pair, and the one before ends.
    LastPair,
}

impl Class {
    pub(crate) const ALL: [Self; 6] = [
        Self::None,
        Self::Strict,
        Self::NewPair,
        Self::SamePair,
        Self::UntilAcknowledged,
        Self::LastPair,
    ];

    /// Its name in a configuration.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Strict => "strict",
            Self::NewPair => "new-pair",
            Self::SamePair => "same-pair",
            Self::UntilAcknowledged => "until-acknowledged",
            Self::LastPair => "last-pair",
        }
    }

    /// Its number.
    pub(crate) const fn number(self) -> &'static str {
        match self {
            Self::None => "R0",
            Self::Strict => "R1",
            Self::NewPair => "R2",
            Self::SamePair => "R3",
            Self::UntilAcknowledged => "R4",
            Self::LastPair => "R5",
        }
    }

    /// What the judge does.
    pub(crate) const fn rotation(self) -> Rotation {
        match self {
            Self::None => Rotation::None,
            Self::Strict => Rotation::Strict,
            Self::NewPair => Rotation::NewPair { window: WINDOW },
            Self::SamePair => Rotation::SamePair { window: WINDOW },
            Self::UntilAcknowledged => Rotation::UntilAcknowledged,
            Self::LastPair => Rotation::LastPair { window: WINDOW },
        }
    }

    /// What a configuration says of it.
    pub(crate) const fn settings(self) -> &'static str {
        match self {
            Self::None => "rotation = \"none\"",
            Self::Strict => "rotation = \"strict\"",
            Self::NewPair => "rotation = \"new-pair\"\nrotation_window = \"30s\"",
            Self::SamePair => "rotation = \"same-pair\"\nrotation_window = \"30s\"",
            Self::UntilAcknowledged => "rotation = \"until-acknowledged\"",
            Self::LastPair => "rotation = \"last-pair\"\nrotation_window = \"30s\"",
        }
    }

    /// Whether an answer that was lost takes the grant with it.
    pub(crate) const fn may_lose(self) -> bool {
        matches!(self, Self::Strict)
    }

    /// Whether a use spends the refresh token.
    pub(crate) const fn rotates(self) -> bool {
        !matches!(self, Self::None)
    }
}

/// Which classes a run is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Classes(pub(crate) Vec<Class>);

impl std::str::FromStr for Classes {
    type Err = String;

    /// Numbers or names with commas between them, or `all`.
    fn from_str(text: &str) -> Result<Self, String> {
        if text == "all" {
            return Ok(Self(Class::ALL.to_vec()));
        }
        let known = |word: &str| {
            let is_it =
                |class: &Class| class.as_str() == word || class.number().eq_ignore_ascii_case(word);
            Class::ALL.into_iter().find(is_it).ok_or_else(|| {
                let names =
                    Class::ALL.map(|class| format!("{} ({})", class.number(), class.as_str()));
                format!("no class is called {word:?}; there is all, {}", names.join(", "))
            })
        };
        text.split(',').map(known).collect::<Result<_, _>>().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_read_by_number_and_by_name() {
        let read = |text: &str| text.parse::<Classes>().map(|classes| classes.0);
        assert_eq!(read("all"), Ok(Class::ALL.to_vec()));
        assert_eq!(read("R1,same-pair"), Ok(vec![Class::Strict, Class::SamePair]));
        assert!(read("R6").is_err_and(|why| why.contains("R5 (last-pair)")));
    }
}
