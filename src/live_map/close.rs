//! How live connections end: the code tells the client why, and whether to come back.

/// Why a socket is closed by us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Close {
    /// A message that is malformed, unknown, too large, or no `hello` in time.
    BadMessage(&'static str),
    /// The credential is unknown or expired.
    Unauthorized,
    /// A page of another origin.
    ForbiddenOrigin,
    /// It does not read fast enough; it may come back.
    Slow,
    /// The delivery is completed, or the link has expired.
    Gone,
    /// The link or the key was revoked.
    Revoked,
    /// Too many messages, or too many viewers; it may come back later.
    TooMany(&'static str),
    /// The server restarts; it may come back.
    Restart,
}

impl Close {
    /// The WebSocket close code.
    pub(crate) fn code(self) -> u16 {
        match self {
            Self::BadMessage(_) => 4000,
            Self::Unauthorized => 4001,
            Self::ForbiddenOrigin => 4003,
            Self::Slow => 4008,
            Self::Gone => 4010,
            Self::Revoked => 4011,
            Self::TooMany(_) => 4029,
            Self::Restart => 1012,
        }
    }

    /// A stable word for programs.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::BadMessage(_) => "bad_message",
            Self::Unauthorized => "unauthorized",
            Self::ForbiddenOrigin => "forbidden_origin",
            Self::Slow => "slow",
            Self::Gone => "gone",
            Self::Revoked => "revoked",
            Self::TooMany(_) => "too_many",
            Self::Restart => "restart",
        }
    }

    /// What a person may be told.
    pub(crate) fn detail(self) -> &'static str {
        match self {
            Self::BadMessage(detail) | Self::TooMany(detail) => detail,
            Self::Unauthorized => "the token is unknown or was used before; get a new one",
            Self::ForbiddenOrigin => {
                "this page may not connect; allow its origin in http.public_url or http.cors_origins"
            }
            Self::Slow => "the connection is too slow to keep up; reconnect",
            Self::Gone => "this delivery is completed, or its link has expired",
            Self::Revoked => "access was revoked",
            Self::Restart => "the server restarts; reconnect",
        }
    }

    /// The last message before the close.
    pub(crate) fn message(self) -> String {
        let (code, detail) = (self.word(), self.detail());
        serde_json::json!({"type": "error", "code": code, "detail": detail}).to_string()
    }
}
