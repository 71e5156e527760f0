//! Reading a segment frame by frame, and looking for frames where the order is broken.

use std::io;
use std::ops::Range;

use bytes::Bytes;

use super::frame::{self, FRAME_ALIGN, FRAME_HEADER_LEN, FrameFault, FrameHeader};
use super::segment::Segment;
use super::storage::StorageFile;

/// Bytes that are read at a time.
pub(super) const READ_CHUNK: usize = 1 << 20;

/// A frame as it lies in its file.
#[derive(Debug, Clone)]
pub(super) struct ScannedFrame {
    pub(super) pos: u64,
    pub(super) header: FrameHeader,
    pub(super) bytes: Bytes,
}

/// Why a scan stopped before its limit.
#[derive(Debug, thiserror::Error)]
pub(super) enum ScanError {
    #[error(transparent)]
    Fault(#[from] FrameFault),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Walks over the frames of one segment, each verified and each following the one before.
pub(super) struct Scanner<'a> {
    segment: &'a Segment,
    limit: u64,
    /// Position of the next frame.
    pub(super) pos: u64,
    /// Offset that the next frame must start at.
    pub(super) next_offset: u64,
    /// Checksum that the next frame must repeat; `None` if it is not known.
    pub(super) prev_crc: Option<u32>,
    window: Bytes,
    window_pos: u64,
    chunk: usize,
}

impl<'a> Scanner<'a> {
    /// Starts at `pos`, where the frame with `next_offset` is expected; ends at `limit`.
    pub(super) fn new(
        segment: &'a Segment,
        pos: u64,
        next_offset: u64,
        prev_crc: Option<u32>,
        limit: u64,
    ) -> Self {
        let (window, window_pos, chunk) = (Bytes::new(), pos, READ_CHUNK);
        Self {
            segment,
            limit,
            pos,
            next_offset,
            prev_crc,
            window,
            window_pos,
            chunk,
        }
    }

    /// Reads no more than `chunk` bytes at a time, unless a frame is longer.
    pub(super) fn with_chunk(mut self, chunk: usize) -> Self {
        self.chunk = chunk;
        self
    }

    /// Whether the next frame, if it is whole, needs no further read.
    pub(super) fn has_buffered(&self) -> bool {
        let rest = self.buffered();
        frame::peek_len(rest).is_ok_and(|len| len <= rest.len())
    }

    /// The next frame; `None` at the limit.
    pub(super) fn next_frame(&mut self) -> Result<Option<ScannedFrame>, ScanError> {
        if self.pos >= self.limit {
            return Ok(None);
        }
        if self.buffered().len() < FRAME_HEADER_LEN {
            self.fill(self.chunk)?;
        }
        let len = frame::peek_len(self.buffered())?;
        if self.buffered().len() < len {
            self.fill(len.max(self.chunk))?;
        }
        let header = frame::verify(self.buffered(), self.segment.seed)?;
        if header.base_offset != self.next_offset
            || self
                .prev_crc
                .is_some_and(|crc| crc != header.prev_frame_crc)
        {
            return Err(FrameFault::Chain.into());
        }
        let start = self.window_start();
        let bytes = self.window.slice(start..start + len);
        let found = ScannedFrame {
            pos: self.pos,
            header,
            bytes,
        };
        self.pos += len as u64;
        self.next_offset = header.end_offset();
        self.prev_crc = Some(header.crc);
        Ok(Some(found))
    }

    fn window_start(&self) -> usize {
        usize::try_from(self.pos - self.window_pos).unwrap_or(usize::MAX)
    }

    fn buffered(&self) -> &[u8] {
        self.window.get(self.window_start()..).unwrap_or_default()
    }

    fn fill(&mut self, want: usize) -> io::Result<()> {
        let room = usize::try_from(self.limit - self.pos).unwrap_or(usize::MAX);
        let mut window = vec![0; want.min(room)];
        let read = self.segment.file.read_full_at(&mut window, self.pos)?;
        window.truncate(read);
        self.window = window.into();
        self.window_pos = self.pos;
        Ok(())
    }
}

/// First and one past the last byte at or after `from` that is not zero.
pub(super) fn nonzero_span(file: &dyn StorageFile, from: u64) -> io::Result<Option<(u64, u64)>> {
    let mut span: Option<(u64, u64)> = None;
    let mut pos = from;
    let mut window = vec![0; READ_CHUNK];
    while let Some(data) = file.next_data(pos)? {
        pos = data.max(pos);
        let read = file.read_full_at(&mut window, pos)?;
        if read == 0 {
            break;
        }
        let bytes = &window[..read];
        if let Some(last) = bytes.iter().rposition(|byte| *byte != 0) {
            let first = bytes.iter().position(|byte| *byte != 0).unwrap_or(last);
            let start = span.map_or(pos + first as u64, |(start, _)| start);
            span = Some((start, pos + last as u64 + 1));
        }
        pos += read as u64;
    }
    Ok(span)
}

/// The first valid frame that starts in `range`, whatever lies before it, and for which `wanted`
/// says yes. Frames are looked for at every multiple of their alignment.
pub(super) fn probe(
    segment: &Segment,
    range: Range<u64>,
    wanted: impl Fn(&FrameHeader) -> bool,
) -> io::Result<Option<ScannedFrame>> {
    let mut pos = range.start.next_multiple_of(FRAME_ALIGN as u64);
    let mut window = vec![0; READ_CHUNK];
    while pos < range.end {
        let room = usize::try_from(range.end - pos)
            .unwrap_or(usize::MAX)
            .min(READ_CHUNK);
        let read = segment.file.read_full_at(&mut window[..room], pos)?;
        if read == 0 {
            break;
        }
        for at in (0..read).step_by(FRAME_ALIGN) {
            if !frame::starts_like_a_frame(&window[at..read]) {
                continue;
            }
            if let Some(found) = frame_at(segment, pos + at as u64)?
                && wanted(&found.header)
            {
                return Ok(Some(found));
            }
        }
        pos += read as u64;
    }
    Ok(None)
}

/// The valid frame at `pos`, if there is one.
fn frame_at(segment: &Segment, pos: u64) -> io::Result<Option<ScannedFrame>> {
    let mut head = [0; FRAME_HEADER_LEN];
    let read = segment.file.read_full_at(&mut head, pos)?;
    if !frame::plausible(&head[..read]) {
        return Ok(None);
    }
    let Ok(len) = frame::peek_len(&head) else {
        return Ok(None);
    };
    let mut bytes = vec![0; len];
    let read = segment.file.read_full_at(&mut bytes, pos)?;
    let verified = frame::verify(&bytes[..read], segment.seed);
    Ok(verified.ok().map(|header| ScannedFrame {
        pos,
        header,
        bytes: bytes.into(),
    }))
}
