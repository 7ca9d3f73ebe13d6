use super::header::{CHECKSUM_AT, KEY_CHECK_AT, KIND_AT, VERSION_AT};
use super::*;

/// The cheapest cost there is: these tests are not about Argon2id.
const FAST: KdfParams = KdfParams { memory_kib: 8, passes: 1, lanes: 1 };
const CHUNK: usize = 1 << 16;
const RANDOM: [u8; RANDOM_LEN] =
    [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23];

fn passphrase(text: &str) -> Passphrase {
    Passphrase::new(text.to_owned()).unwrap()
}

fn plaintext(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 31 + i / 251) as u8).collect()
}

fn sealed(len: usize) -> Vec<u8> {
    seal(Kind::Onnx, &plaintext(len), &passphrase("secret"), &RANDOM, FAST).unwrap()
}

fn reopen(bytes: &[u8]) -> Result<Vec<u8>, ContainerError> {
    open(Kind::Onnx, bytes, &passphrase("secret")).map(|plain| plain.to_vec())
}

/// Makes the checksum of a changed header fit again, as an attacker would.
fn with_checksum(mut bytes: Vec<u8>) -> Vec<u8> {
    let sum = sha2::Digest::finalize(<sha2::Sha256 as sha2::Digest>::new_with_prefix(&bytes[..CHECKSUM_AT]));
    bytes[CHECKSUM_AT..KEY_CHECK_AT].copy_from_slice(&sum[..8]);
    bytes
}

#[test]
fn every_size_comes_back() {
    for len in [0, 1, 15, 16, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK, 3 * CHUNK + 7] {
        let bytes = sealed(len);
        assert_eq!(bytes.len(), HEADER_LEN + len + TAG_LEN * len.div_ceil(CHUNK).max(1), "{len}");
        assert_eq!(reopen(&bytes).unwrap(), plaintext(len), "{len}");
    }
}

/// Pieces of any reader and writer make the same container, and the same plaintext of it.
#[test]
fn a_chunk_at_a_time_is_the_same() {
    let key = passphrase("secret");
    for len in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK, 3 * CHUNK + 7] {
        let (plain, whole) = (plaintext(len), sealed(len));
        let mut sealer = Sealer::new(Kind::Onnx, len as u64, &key, &RANDOM, FAST).unwrap();
        let (mut out, mut rest) = (sealer.header().to_vec(), &plain[..]);
        while let Some(len) = sealer.next_len() {
            let mut chunk = rest.split_off(..len).unwrap().to_vec();
            sealer.seal(&mut chunk).unwrap();
            out.extend(chunk);
        }
        assert!(rest.is_empty() && out == whole, "{len}");

        let mut opener = Opener::new(&whole[..HEADER_LEN], whole.len() as u64, &key).unwrap();
        assert_eq!((opener.kind(), opener.plaintext_len()), (Kind::Onnx, len as u64));
        let (mut out, mut rest) = (Vec::new(), &whole[HEADER_LEN..]);
        while let Some(len) = opener.next_len() {
            let mut chunk = rest.split_off(..len).unwrap().to_vec();
            opener.open(&mut chunk).unwrap();
            out.extend(chunk);
        }
        assert!(rest.is_empty() && out == plain, "{len}");
    }
}

#[test]
fn chunks_of_another_length_or_too_many_are_refused() {
    let key = passphrase("secret");
    let mut sealer = Sealer::new(Kind::Onnx, CHUNK as u64 + 1, &key, &RANDOM, FAST).unwrap();
    let refused = |expected, found| Err(ContainerError::ChunkLength { expected, found });
    assert_eq!(sealer.seal(&mut vec![0; CHUNK + 1]), refused(CHUNK, CHUNK + 1));
    sealer.seal(&mut vec![0; CHUNK]).unwrap();
    sealer.seal(&mut vec![0]).unwrap();
    assert_eq!(sealer.seal(&mut vec![]), refused(0, 0));

    let bytes = sealed(10);
    let mut opener = Opener::new(&bytes, bytes.len() as u64, &key).unwrap();
    assert_eq!(opener.open(&mut vec![0; 10]), refused(10 + TAG_LEN, 10));
    assert_eq!(opener.open(&mut bytes[HEADER_LEN..].to_vec()), Ok(()));
    assert_eq!(opener.open(&mut vec![]), refused(0, 0));
    for found in 0..HEADER_LEN {
        assert!(Opener::new(&bytes[..found], bytes.len() as u64, &key).is_err());
    }
}

#[test]
fn the_default_cost_and_other_chunk_sizes_come_back() {
    let mut header = Header::new(Kind::Checkpoint, KdfParams::default(), 2 * CHUNK as u64 + 9, &RANDOM);
    header.chunk_log2 = 17;
    let bytes = seal_with(&header, &plaintext(2 * CHUNK + 9), &passphrase("secret")).unwrap();
    let plain = open(Kind::Checkpoint, &bytes, &passphrase("secret")).unwrap();
    assert_eq!(*plain, plaintext(2 * CHUNK + 9));
}

/// Made by the Python program that `docs/formats/etlt.md` shows.
#[test]
fn the_format_is_the_documented_one() {
    let want = include_bytes!("known_answer.bin");
    let params = KdfParams { memory_kib: 64, passes: 2, lanes: 2 };
    let message = b"oxidet known answer";
    let key = passphrase("nvidia_tlt");
    assert_eq!(seal(Kind::Onnx, message, &key, &RANDOM, params).unwrap(), want);
    assert_eq!(*open(Kind::Onnx, want, &key).unwrap(), message);
}

#[test]
fn every_changed_header_byte_is_damage_or_another_format() {
    let bytes = sealed(100);
    for at in 0..HEADER_LEN {
        for bit in 0..8 {
            let mut changed = bytes.clone();
            changed[at] ^= 1 << bit;
            let error = reopen(&changed).unwrap_err();
            match at {
                0..VERSION_AT => assert_eq!(error, ContainerError::NotEncrypted, "{at}"),
                VERSION_AT => assert_eq!(error, ContainerError::Version(changed[at])),
                KEY_CHECK_AT.. => assert_eq!(error, ContainerError::WrongKey, "{at}"),
                _ => assert_eq!(error, ContainerError::Header, "{at}"),
            }
        }
    }
}

#[test]
fn every_changed_header_byte_is_noticed_even_with_a_forged_checksum() {
    let bytes = sealed(100);
    for at in KIND_AT..CHECKSUM_AT {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        let error = reopen(&with_checksum(changed)).unwrap_err();
        let want = match at {
            KIND_AT => ContainerError::HeaderField("kind"),
            10 => ContainerError::HeaderField("key derivation"),
            11 => ContainerError::HeaderField("cipher"),
            // Memory becomes 9, 264 and 65544 KiB: another key.
            12..15 => ContainerError::WrongKey,
            15..24 => ContainerError::HeaderField("key derivation cost"),
            24..30 => {
                let len = 100 ^ (1 << (8 * (at - 24)));
                let expected = (HEADER_LEN + len + TAG_LEN * len.div_ceil(CHUNK)) as u64;
                ContainerError::Length { expected, found: bytes.len() as u64 }
            }
            30..32 => ContainerError::HeaderField("length"),
            32..48 => ContainerError::WrongKey,
            // 64 KiB becomes 128 KiB: still one chunk, but the header is not the authenticated one.
            _ => ContainerError::Chunk { number: 1, of: 1 },
        };
        assert_eq!(error, want, "{at}");
    }
}

#[test]
fn hostile_costs_are_refused_before_they_are_paid() {
    for (memory_kib, passes, lanes) in [
        (u32::MAX, 1, 1),
        ((1 << 20) + 1, 1, 1),
        (1 << 20, 5, 1),
        (8, 17, 1),
        (8, 0, 1),
        (8, 1, 0),
        (8, 1, 2),
        (1 << 20, 1, 17),
        (1 << 20, 1, u32::MAX),
    ] {
        let params = KdfParams { memory_kib, passes, lanes };
        assert_eq!(
            seal(Kind::Onnx, b"", &passphrase("secret"), &RANDOM, params),
            Err(ContainerError::Cost { memory_kib })
        );
        let mut bytes = sealed(0);
        bytes[12..16].copy_from_slice(&memory_kib.to_le_bytes());
        bytes[16..20].copy_from_slice(&passes.to_le_bytes());
        bytes[20..24].copy_from_slice(&lanes.to_le_bytes());
        assert_eq!(reopen(&with_checksum(bytes)), Err(ContainerError::HeaderField("key derivation cost")));
    }
}

#[test]
fn hostile_lengths_are_refused() {
    for (len, log2) in [(u64::MAX, 16), (1 << 63, 20), (1 << 62, 16), (1 << 49, 16)] {
        let mut bytes = sealed(0);
        bytes[24..32].copy_from_slice(&len.to_le_bytes());
        bytes[55] = log2;
        let error = reopen(&with_checksum(bytes)).unwrap_err();
        assert_eq!(error, ContainerError::HeaderField("length"), "{len}");
    }
    for log2 in [0, 15, 21, 64, 255] {
        let mut bytes = sealed(0);
        bytes[55] = log2;
        assert_eq!(reopen(&with_checksum(bytes)), Err(ContainerError::HeaderField("chunk size")));
    }
}

#[test]
fn changed_chunks_are_named() {
    let bytes = sealed(2 * CHUNK + 5);
    let sealed_chunk = CHUNK + TAG_LEN;
    for (number, start) in [(1, 0), (2, sealed_chunk), (3, 2 * sealed_chunk)] {
        let end = (start + sealed_chunk).min(bytes.len() - HEADER_LEN);
        for at in [start, (start + end) / 2, end - TAG_LEN, end - 1] {
            let mut changed = bytes.clone();
            changed[HEADER_LEN + at] ^= 0x80;
            assert_eq!(reopen(&changed), Err(ContainerError::Chunk { number, of: 3 }), "{at}");
        }
    }
}

#[test]
fn swapped_and_repeated_chunks_are_named() {
    let bytes = sealed(3 * CHUNK);
    let chunk = |i: usize| HEADER_LEN + i * (CHUNK + TAG_LEN)..HEADER_LEN + (i + 1) * (CHUNK + TAG_LEN);
    for (order, number) in [([1, 0, 2], 1), ([0, 2, 1], 2), ([0, 0, 2], 2), ([2, 1, 0], 1), ([0, 1, 1], 3)] {
        let mut changed = bytes[..HEADER_LEN].to_vec();
        for i in order {
            changed.extend_from_slice(&bytes[chunk(i)]);
        }
        assert_eq!(reopen(&changed), Err(ContainerError::Chunk { number, of: 3 }), "{order:?}");
    }
}

#[test]
fn missing_and_added_bytes_are_damage() {
    let bytes = sealed(2 * CHUNK);
    let expected = bytes.len();
    let boundaries =
        [HEADER_LEN, HEADER_LEN + CHUNK, HEADER_LEN + CHUNK + TAG_LEN, expected - TAG_LEN, expected];
    for found in boundaries
        .iter()
        .flat_map(|at| [at - 1, *at, at + 1])
        .filter(|at| (HEADER_LEN..expected).contains(at))
    {
        let error = ContainerError::Length { expected: expected as u64, found: found as u64 };
        assert_eq!(reopen(&bytes[..found]), Err(error));
    }
    for found in VERSION_AT + 1..HEADER_LEN {
        assert_eq!(reopen(&bytes[..found]), Err(ContainerError::Header));
    }
    for found in 0..VERSION_AT {
        assert_eq!(reopen(&bytes[..found]), Err(ContainerError::NotEncrypted));
    }
    let extended = [&bytes[..], &[0]].concat();
    let expected = expected as u64;
    assert_eq!(reopen(&extended), Err(ContainerError::Length { expected, found: expected + 1 }));
}

/// Dropping the last chunk and mending length and checksum: the shorter header is not the authenticated one.
#[test]
fn a_dropped_last_chunk_with_a_forged_length_is_noticed() {
    let mut bytes = sealed(2 * CHUNK);
    bytes.truncate(bytes.len() - CHUNK - TAG_LEN);
    bytes[24..32].copy_from_slice(&(CHUNK as u64).to_le_bytes());
    assert_eq!(reopen(&with_checksum(bytes)), Err(ContainerError::Chunk { number: 1, of: 1 }));
}

#[test]
fn a_wrong_key_is_told_from_damage() {
    let bytes = sealed(10);
    for wrong in ["Secret", "secret ", "s"] {
        assert_eq!(open(Kind::Onnx, &bytes, &passphrase(wrong)).unwrap_err(), ContainerError::WrongKey);
    }
}

#[test]
fn kinds_do_not_mix() {
    let error = open(Kind::Checkpoint, &sealed(1), &passphrase("secret")).unwrap_err();
    assert_eq!(error, ContainerError::OtherKind { wanted: Kind::Checkpoint, found: Kind::Onnx });
}

#[test]
fn other_formats_are_recognised() {
    let cases: [(&[u8], Sniffed, ContainerError); 8] = [
        (b"\x05\0\0\0Input\x93\x11", Sniffed::NvidiaEtlt, ContainerError::NvidiaEtlt),
        (b"\0\0\0\0\x93\x11", Sniffed::NvidiaEtlt, ContainerError::NvidiaEtlt),
        (b"\x89HDF\r\n\x1a\n\0", Sniffed::Hdf5, ContainerError::Hdf5),
        // ONNX, safetensors, a negative length, nothing after the name, nothing at all.
        (b"\x08\x08\x12\x06oxidet", Sniffed::Other, ContainerError::NotEncrypted),
        (b"\x08\0\0\0\0\0\0\0{}      ", Sniffed::Other, ContainerError::NotEncrypted),
        (b"\xff\xff\xff\xffInput", Sniffed::Other, ContainerError::NotEncrypted),
        (b"\x05\0\0\0Input", Sniffed::Other, ContainerError::NotEncrypted),
        (b"", Sniffed::Other, ContainerError::NotEncrypted),
    ];
    for (bytes, want, error) in cases {
        assert_eq!(sniff(bytes), want, "{bytes:?}");
        assert_eq!(reopen(bytes), Err(error), "{bytes:?}");
    }
    assert_eq!(sniff(&sealed(0)), Sniffed::Oxidet { kind: Some(Kind::Onnx), version: VERSION });
    assert_eq!(sniff(&sealed(0)[..8]), Sniffed::Oxidet { kind: None, version: 0 });
}

#[test]
fn passphrases_are_never_empty_and_never_shown() {
    assert_eq!(Passphrase::new(String::new()).unwrap_err(), ContainerError::EmptyKey);
    assert_eq!(format!("{:?}", passphrase("secret")), "Passphrase(..)");
}
