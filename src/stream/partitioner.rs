//! Which partition a key belongs to: Kafka's default of the Java client, on every backend.

use super::Partition;

/// The partition of `key` among `partitions`: `(murmur2(key) & 0x7fffffff) % partitions`.
///
/// Computed here and passed on explicitly, because librdkafka's own default (CRC32) would send a
/// courier elsewhere than any Java or embedded client does.
///
/// # Panics
/// If `partitions` is 0; the count is validated when a topic is opened.
#[must_use]
pub fn partition_for_key(key: &[u8], partitions: u32) -> Partition {
    Partition((murmur2(key) & 0x7fff_ffff) % partitions)
}

/// 32-bit MurmurHash2 with Kafka's seed (Austin Appleby's algorithm, as in
/// `org.apache.kafka.common.utils.Utils.murmur2`).
fn murmur2(data: &[u8]) -> u32 {
    const SEED: u32 = 0x9747_b28c;
    const M: u32 = 0x5bd1_e995;
    const R: u32 = 24;

    let length = u32::try_from(data.len()).unwrap_or(u32::MAX);
    let mut hash = SEED ^ length;
    let mut words = data.chunks_exact(4);
    for word in &mut words {
        let mut k = u32::from_le_bytes([word[0], word[1], word[2], word[3]]).wrapping_mul(M);
        k ^= k >> R;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    let rest = words.remainder();
    if !rest.is_empty() {
        for (i, byte) in rest.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * i);
        }
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_kafkas_vectors() {
        let got: Vec<u32> = ["my_key_1", "my_key_2", "my_key_3", "my_key_4"]
            .iter()
            .map(|key| partition_for_key(key.as_bytes(), 6).0)
            .collect();
        assert_eq!(got, [0, 4, 5, 2]);
    }

    #[test]
    fn hashes_every_tail_length_as_java_does() {
        // Vectors of Kafka's own UtilsTest.
        assert_eq!(murmur2(b"21") as i32, -973_932_308);
        assert_eq!(murmur2(b"foobar") as i32, -790_332_482);
        assert_eq!(murmur2(b"a-little-bit-long-string") as i32, -985_981_536);
        assert_eq!(
            murmur2(b"a-little-bit-longer-string") as i32,
            -1_486_304_829
        );
        assert_eq!(
            murmur2(b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8") as i32,
            -58_897_971
        );
        assert_eq!(murmur2(b"abc") as i32, 479_470_107);
    }
}
