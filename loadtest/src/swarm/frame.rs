//! WebSocket frames as far as a load client needs them: a server's frames are unmasked and, from
//! this server, never in parts.

use anyhow::bail;

const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;
const FINAL: u8 = 0x80;
const MASKED: u8 = 0x80;

/// What a server says.
#[derive(Debug, PartialEq, Eq)]
pub enum Said<'a> {
    Text(&'a [u8]),
    Binary(&'a [u8]),
    /// To be answered with the same bytes.
    Ping(&'a [u8]),
    Pong,
    /// The close code and the reason.
    Close(u16, &'a [u8]),
}

/// The first frame of `bytes` and its length; `None` while it is not complete.
pub fn split(bytes: &[u8]) -> anyhow::Result<Option<(Said<'_>, usize)>> {
    let [first, second, ..] = *bytes else {
        return Ok(None);
    };
    let (head, body) = match second {
        126 if bytes.len() < 4 => return Ok(None),
        126 => (4, usize::from(u16::from_be_bytes([bytes[2], bytes[3]]))),
        127 if bytes.len() < 10 => return Ok(None),
        127 => {
            let length = u64::from_be_bytes(bytes[2..10].try_into()?);
            (10, usize::try_from(length)?)
        }
        short if short < 126 => (2, usize::from(short)),
        _ => bail!("a server's frame is masked"),
    };
    let Some(payload) = bytes.get(head..head + body) else {
        return Ok(None);
    };
    if first & FINAL == 0 {
        bail!("a message in parts");
    }
    let said = match first & 0x0f {
        TEXT => Said::Text(payload),
        BINARY => Said::Binary(payload),
        PING => Said::Ping(payload),
        PONG => Said::Pong,
        CLOSE => match payload {
            [high, low, reason @ ..] => Said::Close(u16::from_be_bytes([*high, *low]), reason),
            _ => Said::Close(1005, b""),
        },
        other => bail!("an unknown kind of frame: {other}"),
    };
    Ok(Some((said, head + body)))
}

/// A client's text message. A client must mask; a mask of zeros changes nothing.
pub fn text(text: &str) -> Vec<u8> {
    masked(TEXT, text.as_bytes())
}

/// The answer to a ping.
pub fn pong(payload: &[u8]) -> Vec<u8> {
    masked(PONG, payload)
}

fn masked(kind: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![FINAL | kind];
    match u16::try_from(payload.len()) {
        Ok(short @ ..126) => frame.push(MASKED | short as u8),
        Ok(length) => {
            frame.push(MASKED | 126);
            frame.extend(length.to_be_bytes());
        }
        Err(_) => {
            frame.push(MASKED | 127);
            frame.extend((payload.len() as u64).to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend(payload);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_split_where_they_end() {
        let long = [&[0x82, 126, 0x01, 0x00][..], &[7; 256], &[0x81]].concat();
        let (said, length) = split(&long).expect("reads").expect("complete");
        assert_eq!((said, length), (Said::Binary(&[7; 256]), 260));
        assert_eq!(split(&long[..259]).expect("reads"), None);
        let close = [0x88, 4, 0x0f, 0xa8, b's', b'o'];
        let (said, _) = split(&close).expect("reads").expect("complete");
        assert_eq!(said, Said::Close(4008, b"so"));
        let ping = split(&[0x89, 1, 9]).expect("reads").expect("complete");
        assert_eq!(ping, (Said::Ping(&[9]), 3));
        assert!(split(&[0x01, 0]).is_err(), "a part of a message");
        assert!(split(&[0x81, 0x80]).is_err(), "masked");
    }

    #[test]
    fn what_a_client_says_is_masked() {
        assert_eq!(text("ab"), [0x81, 0x82, 0, 0, 0, 0, b'a', b'b']);
        assert_eq!(text(&"x".repeat(200)).len(), 200 + 8);
        assert_eq!(pong(&[5]), [0x8a, 0x81, 0, 0, 0, 0, 5]);
    }
}
