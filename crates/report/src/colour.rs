//! Colours by name; what they look like, in light and in dark, is the style's affair.

/// Of a layer in a picture. Told apart by people who see few colours, and in grey.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    /// What is of interest.
    Blue,
    /// What is well.
    Teal,
    /// What is a warning.
    Amber,
    /// What is wrong.
    Red,
    /// Something else of interest.
    Violet,
    /// What is there besides.
    Grey,
}

impl Colour {
    /// All, in the order in which to use them for things of one kind.
    pub const ALL: [Self; 6] =
        [Self::Blue, Self::Amber, Self::Teal, Self::Violet, Self::Red, Self::Grey];

    pub(crate) fn class(self) -> &'static str {
        match self {
            Self::Blue => "blue",
            Self::Teal => "teal",
            Self::Amber => "amber",
            Self::Red => "red",
            Self::Violet => "violet",
            Self::Grey => "grey",
        }
    }
}

/// How good or bad something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// All is well.
    Good,
    /// Neither.
    Neutral,
    /// Something to look at.
    Warning,
    /// Something is wrong.
    Bad,
}

impl Tone {
    pub(crate) fn class(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Neutral => "neutral",
            Self::Warning => "warning",
            Self::Bad => "bad",
        }
    }
}
