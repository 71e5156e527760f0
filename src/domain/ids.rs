//! Ids that the caller chooses: 1–64 of `A–Z a–z 0–9 . _ : -`.

use std::sync::Arc;

/// Most bytes an id may have.
pub const MAX_ID_LEN: usize = 64;

/// Why a string is not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Nothing was given.
    #[error("an id must not be empty")]
    Empty,
    /// Longer than [`MAX_ID_LEN`].
    #[error("an id has at most {MAX_ID_LEN} characters, this one has {0}")]
    TooLong(usize),
    /// A character that is not allowed; look-alikes of other alphabets included.
    #[error("an id is made of A–Z a–z 0–9 . _ : - only; character {0} is none of them")]
    BadCharacter(usize),
}

fn check(id: &str) -> Result<(), IdError> {
    if id.is_empty() {
        return Err(IdError::Empty);
    }
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b':' | b'-');
    if let Some(at) = id.chars().position(|c| !u8::try_from(c).is_ok_and(allowed)) {
        return Err(IdError::BadCharacter(at + 1));
    }
    if id.len() > MAX_ID_LEN {
        return Err(IdError::TooLong(id.len()));
    }
    Ok(())
}

macro_rules! id_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The id as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<&str> for $name {
            type Error = IdError;
            fn try_from(id: &str) -> Result<Self, IdError> {
                check(id)?;
                Ok(Self(id.into()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(id: String) -> Result<Self, IdError> {
                Self::try_from(id.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = IdError;
            fn from_str(id: &str) -> Result<Self, IdError> {
                Self::try_from(id)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.serialize_str(&self.0)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let id = std::borrow::Cow::<'de, str>::deserialize(d)?;
                Self::try_from(&*id).map_err(serde::de::Error::custom)
            }
        }
    };
}

id_type!(
    /// Names a courier; the key of every record in the log.
    CourierId
);
id_type!(
    /// Names a delivery.
    DeliveryId
);
id_type!(
    /// Names a geofence.
    GeofenceId
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_what_the_api_allows_and_nothing_else() {
        assert!(CourierId::try_from("c-17.A_b:9").is_ok());
        assert!(CourierId::try_from("x".repeat(64)).is_ok());
        assert_eq!(CourierId::try_from(""), Err(IdError::Empty));
        assert_eq!(
            CourierId::try_from("x".repeat(65)),
            Err(IdError::TooLong(65))
        );
        assert_eq!(CourierId::try_from("a b"), Err(IdError::BadCharacter(2)));
        assert_eq!(
            CourierId::try_from("c\u{0430}"),
            Err(IdError::BadCharacter(2))
        );
        assert_eq!(CourierId::try_from("a\n"), Err(IdError::BadCharacter(2)));
    }
}
