//! What an authorization server does with a refresh token that was used before.

use std::fmt;

/// The class of an authorization server's refresh token rotation (RFC 9700 §4.14.2): what a second
/// request with a spent refresh token brings, and so what a request in doubt allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rotation {
    /// R0: refresh tokens do not rotate.
    None,
    /// R1: a second use is refused, and may revoke the whole family.
    Strict,
    /// R2: inside a window every use issues another pair.
    NewPair,
    /// R3: inside a window every use returns the pair already issued.
    SamePair,
    /// R4: the old refresh token works until the new access or refresh token is used.
    UntilAcknowledged,
    /// R5: each use issues another pair, and the pairs before it die.
    LastPair,
}

impl Rotation {
    /// Every class, R0 first.
    pub const ALL: [Self; 6] = [
        Self::None,
        Self::Strict,
        Self::NewPair,
        Self::SamePair,
        Self::UntilAcknowledged,
        Self::LastPair,
    ];

    /// The name it has in a configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Strict => "strict",
            Self::NewPair => "new-pair",
            Self::SamePair => "same-pair",
            Self::UntilAcknowledged => "until-acknowledged",
            Self::LastPair => "last-pair",
        }
    }

    /// Reads the name it has in a configuration. The error lists the possible ones.
    pub fn parse(name: &str) -> Result<Self, UnknownRotation> {
        let known = Self::ALL.into_iter().find(|rotation| rotation.as_str() == name);
        known.ok_or_else(|| UnknownRotation(name.to_owned()))
    }

    /// Whether a spent refresh token is taken again for a limited time, the rotation window.
    pub const fn has_window(self) -> bool {
        match self {
            Self::NewPair | Self::SamePair | Self::LastPair => true,
            Self::None | Self::Strict | Self::UntilAcknowledged => false,
        }
    }
}

impl fmt::Display for Rotation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// No class of rotation has this name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownRotation(String);

impl fmt::Display for UnknownRotation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = super::closest_first(&self.0, Rotation::ALL.map(Rotation::as_str));
        write!(f, "no rotation is called {:?}; choose {}", self.0, names.join(", "))
    }
}

impl std::error::Error for UnknownRotation {}
