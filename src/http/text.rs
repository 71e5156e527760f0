//! Texts that people write: bounded, and free of what only hurts.

use serde::{Deserialize, Deserializer, Serialize};

/// A text of 1 to `MAX` characters without control characters (line feeds excepted), not made of
/// white space alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Text<const MAX: usize>(String);

impl<const MAX: usize> Text<MAX> {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The text.
    #[must_use]
    pub fn into_string(self) -> String {
        self.0
    }
}

impl<const MAX: usize> TryFrom<&str> for Text<MAX> {
    type Error = String;

    fn try_from(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text.is_empty() {
            return Err("a text must not be empty; leave it out instead".to_owned());
        }
        if text.chars().count() > MAX {
            return Err(format!("a text has at most {MAX} characters here"));
        }
        if text
            .chars()
            .any(|c| (c.is_control() && c != '\n') || is_invisible(c))
        {
            return Err("a text must not hold control characters".to_owned());
        }
        Ok(Self(text.to_owned()))
    }
}

/// Characters that turn the direction of what follows, or that nobody sees.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}' | '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

impl<'de, const MAX: usize> Deserialize<'de> for Text<MAX> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
        Self::try_from(&*text).map_err(serde::de::Error::custom)
    }
}

impl<const MAX: usize> utoipa::PartialSchema for Text<MAX> {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        utoipa::openapi::ObjectBuilder::new()
            .schema_type(utoipa::openapi::schema::Type::String)
            .min_length(Some(1))
            .max_length(Some(MAX))
            .into()
    }
}

impl<const MAX: usize> utoipa::ToSchema for Text<MAX> {
    fn name() -> std::borrow::Cow<'static, str> {
        format!("Text{MAX}").into()
    }
}

#[cfg(test)]
mod tests {
    use super::Text;

    #[test]
    fn texts_are_bounded_and_visible() {
        assert_eq!(
            Text::<5>::try_from(" Ånn ")
                .map(Text::into_string)
                .as_deref(),
            Ok("Ånn")
        );
        assert_eq!(
            Text::<5>::try_from("a\nb")
                .map(Text::into_string)
                .as_deref(),
            Ok("a\nb")
        );
        for bad in ["", "  ", "abcdef", "a\rb", "a\0b", "a\u{202e}b"] {
            assert!(Text::<5>::try_from(bad).is_err(), "{bad:?}");
        }
    }
}
