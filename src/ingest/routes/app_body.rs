//! Bodies of phone apps. Such apps repeat a refused upload for ever, so what cannot be read is put
//! in quarantine and answered like any other.

use axum::body::Body;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;

use super::closing;
use crate::directory::Device;
use crate::domain::UnixMs;
use crate::http::Problem;
use crate::ingest::Ingest;
use crate::ingest::body::BodyError;
use crate::ingest::formats::{Format, Reason, Upload};

/// What a phone app sent.
pub(super) enum Content {
    Whole(Bytes),
    Unread {
        beginning: Bytes,
        reason: Reason,
        close: bool,
    },
}

impl Content {
    pub(super) fn bytes(&self) -> &Bytes {
        match self {
            Self::Whole(bytes)
            | Self::Unread {
                beginning: bytes, ..
            } => bytes,
        }
    }

    /// The answer to an app; what was not read to its end leaves the connection unusable.
    pub(super) fn answer(&self, response: impl IntoResponse) -> Response {
        match self {
            Self::Unread { close: true, .. } => closing(response),
            _ => response.into_response(),
        }
    }
}

impl Ingest {
    /// Reads a body; what cannot be read is not an error but [`Content::Unread`].
    pub(super) async fn read_for_app(
        &self,
        headers: &HeaderMap,
        body: Body,
    ) -> Result<Content, Problem> {
        let unread = |reason, beginning| {
            Ok(Content::Unread {
                beginning,
                reason,
                close: reason == Reason::TooLarge,
            })
        };
        match self.0.bodies.read(headers, body).await {
            Ok(bytes) => Ok(Content::Whole(bytes)),
            Err(BodyError::TooLarge { beginning, .. }) => unread(Reason::TooLarge, beginning),
            Err(BodyError::Undecodable { sent }) => unread(Reason::Unreadable, sent),
            Err(BodyError::UnknownEncoding) => unread(Reason::Unreadable, Bytes::new()),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) async fn admit_from_app(
        &self,
        device: &Device,
        received_at: UnixMs,
        format: Format,
        upload: Upload,
    ) -> Result<(), Problem> {
        let sender = self.sender(device, received_at, format);
        self.0.admission.admit(sender, upload).await?;
        Ok(())
    }
}
