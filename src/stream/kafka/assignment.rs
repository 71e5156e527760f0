//! The bytes in which the coordinator keeps what a member was given: Kafka's `ConsumerProtocolAssignment`,
//! big-endian: version, then topics, each a name and partition numbers.

use bytes::Buf;

/// The partitions of `topic` that `bytes` give; none if they are not what they should be.
pub(super) fn partitions(bytes: &[u8], topic: &str) -> Vec<u32> {
    parse(bytes, topic).unwrap_or_default()
}

fn parse(mut bytes: &[u8], topic: &str) -> Option<Vec<u32>> {
    bytes.try_get_i16().ok()?;
    let topics = bytes.try_get_i32().ok()?;
    let mut found = Vec::new();
    for _ in 0..topics {
        let length = usize::try_from(bytes.try_get_i16().ok()?).ok()?;
        let name = bytes.get(..length)?;
        let ours = name == topic.as_bytes();
        bytes.advance(length);
        for _ in 0..bytes.try_get_i32().ok()? {
            let number = bytes.try_get_i32().ok()?;
            if ours {
                found.push(u32::try_from(number).ok()?);
            }
        }
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_of_our_topic_are_found_and_nonsense_is_none() {
        let mut bytes = vec![0, 1, 0, 0, 0, 2];
        for (name, numbers) in [("other", &[9_u8][..]), ("t", &[0, 7])] {
            bytes.extend([0, u8::try_from(name.len()).unwrap()]);
            bytes.extend(name.as_bytes());
            bytes.extend([0, 0, 0, u8::try_from(numbers.len()).unwrap()]);
            bytes.extend(numbers.iter().flat_map(|n| [0, 0, 0, *n]));
        }
        bytes.extend([255, 255, 255, 255]);
        assert_eq!(partitions(&bytes, "t"), [0, 7]);
        assert_eq!(partitions(&bytes, "other"), [9]);
        for cut in 0..24 {
            assert_eq!(partitions(&bytes[..cut], "t"), [0_u32; 0], "cut at {cut}");
        }
        assert_eq!(partitions(&[255; 40], "t"), [0_u32; 0]);
    }
}
