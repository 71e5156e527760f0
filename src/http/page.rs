//! Lists in pages: `?limit=&cursor=` in, `{"items": […], "next_cursor": …}` out.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Problem;

/// Items of a page unless the caller says otherwise.
const DEFAULT_LIMIT: u32 = 50;
/// Most items of a page.
pub const MAX_LIMIT: u32 = 500;

/// Which page.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct PageQuery {
    /// Most items, 1 to 500; 50 unless said otherwise.
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    pub cursor: Option<String>,
}

/// A page of a list.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// Where the next page begins; null at the end.
    pub next_cursor: Option<String>,
}

impl PageQuery {
    /// Most items.
    ///
    /// # Errors
    /// 422 if it is out of range.
    pub fn limit(&self) -> Result<u32, Problem> {
        match self.limit {
            None => Ok(DEFAULT_LIMIT),
            Some(limit) if (1..=MAX_LIMIT).contains(&limit) => Ok(limit),
            Some(_) => Err(Problem::invalid(format!(
                "limit must be between 1 and {MAX_LIMIT}"
            ))),
        }
    }

    /// Behind which item the page begins, as [`Page::of`] wrote it.
    ///
    /// # Errors
    /// 422 if it is no cursor of this list.
    pub fn after<K: DeserializeOwned>(&self) -> Result<Option<K>, Problem> {
        let Some(cursor) = self.cursor.as_deref().filter(|cursor| !cursor.is_empty()) else {
            return Ok(None);
        };
        let bytes = URL_SAFE_NO_PAD.decode(cursor).ok();
        let key = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        key.map(Some).ok_or_else(|| {
            Problem::invalid("cursor must be the next_cursor of the page before, unchanged")
        })
    }
}

impl<T> Page<T> {
    /// A page out of up to `limit + 1` items: one more than asked for says that there is a next page,
    /// which begins behind the `key` of the last one shown.
    #[must_use]
    pub fn of<K: Serialize>(mut items: Vec<T>, limit: u32, key: impl Fn(&T) -> K) -> Self {
        let more = items.len() > limit as usize;
        items.truncate(limit as usize);
        let last = items.last().filter(|_| more);
        let next_cursor = last.and_then(|item| serde_json::to_vec(&key(item)).ok());
        Self {
            items,
            next_cursor: next_cursor.map(|key| URL_SAFE_NO_PAD.encode(key)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_follow_one_another() {
        let page = Page::of(vec!["a", "b", "c"], 2, |item| (*item).to_owned());
        assert_eq!(page.items, ["a", "b"]);
        let query = PageQuery {
            limit: Some(2),
            cursor: page.next_cursor,
        };
        assert_eq!(
            query.after::<String>().expect("a cursor").as_deref(),
            Some("b")
        );
        assert_eq!(
            Page::of(vec!["c"], 2, |item| (*item).to_owned()).next_cursor,
            None
        );
    }

    #[test]
    fn what_is_no_cursor_or_limit_is_refused() {
        let query = |limit, cursor: &str| PageQuery {
            limit,
            cursor: Some(cursor.to_owned()),
        };
        assert_eq!(
            query(None, "%%%")
                .after::<String>()
                .expect_err("refused")
                .status,
            422
        );
        assert_eq!(query(Some(0), "").limit().expect_err("refused").status, 422);
        assert_eq!(
            query(Some(501), "").limit().expect_err("refused").status,
            422
        );
        assert!(query(None, "").after::<String>().expect("none").is_none());
    }
}
