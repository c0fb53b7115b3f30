//! The names of digest schemes, and sets of them: which ones the keys of a store are of.

/// A digest scheme (`docs/design.md`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    Exact,
    Sha256,
}

impl Scheme {
    pub const ALL: [Self; 2] = [Self::Exact, Self::Sha256];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Sha256 => "sha256",
        }
    }

    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scheme| scheme.name() == name)
    }

    /// Every scheme but this one.
    pub fn others(self) -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(move |other| *other != self)
    }
}

/// A set of schemes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Schemes(u8);

impl Schemes {
    pub fn of(scheme: Scheme) -> Self {
        Self::default().with(scheme)
    }

    #[must_use]
    pub fn with(self, scheme: Scheme) -> Self {
        let bit = match scheme {
            Scheme::Exact => 1,
            Scheme::Sha256 => 2,
        };
        Self(self.0 | bit)
    }

    pub fn contains(self, scheme: Scheme) -> bool {
        self.with(scheme) == self
    }

    pub fn bits(self) -> u8 {
        self.0
    }
}
