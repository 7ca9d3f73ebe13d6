use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::keras::DataFormat;
use super::*;

/// Files of the programs themselves; `fixtures/make_*.py` made them. Every array is 0, ⅛, ¼ … in row-major order.
const KERAS: [(&str, &[u8]); 4] = [
    ("keras3.h5", include_bytes!("fixtures/keras3.h5")),
    ("keras3.keras", include_bytes!("fixtures/keras3.keras")),
    ("keras3.weights.h5", include_bytes!("fixtures/keras3.weights.h5")),
    ("keras2.h5", include_bytes!("fixtures/keras2.h5")),
];
const NAMELESS: &[u8] = include_bytes!("fixtures/keras3_nameless.weights.h5");
const THEANO: &[u8] = include_bytes!("fixtures/keras1_th.h5");
const ZIP: &[u8] = include_bytes!("fixtures/zip.pt");
const LEGACY: &[u8] = include_bytes!("fixtures/legacy.pt");
const NESTED: &[u8] = include_bytes!("fixtures/nested.pt");
const UNSAFE: &[u8] = include_bytes!("fixtures/unsafe.pt");
const SAFETENSORS: &[u8] = include_bytes!("fixtures/state.safetensors");

fn ramp(len: usize) -> Vec<f32> {
    (0..len).map(|i| i as f32 / 8.0).collect()
}

fn by_name(arrays: &[Array]) -> BTreeMap<&str, &Array> {
    arrays.iter().map(|array| (array.name.as_str(), array)).collect()
}

fn keras(bytes: &[u8]) -> keras::Weights {
    match read(bytes).unwrap() {
        Weights::Keras(weights) => weights,
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_layout_of_keras_gives_the_same_layers() {
    for (name, bytes) in KERAS {
        let weights = keras(bytes);
        let found = by_name(&weights.arrays);
        // Only the old layout flattens the network inside the network, and Keras 2 does not name it.
        let inner = if name == "keras2.h5" { "" } else { "inner/" };
        for (layer, kind, shape) in [
            ("first", "kernel", &[3, 3, 2, 4][..]),
            ("first_bn", "gamma", &[4]),
            ("first_bn", "moving_variance", &[4]),
            (&format!("{inner}dw"), "kernel", &[3, 3, 4, 1]),
            (&format!("{inner}dw_bn"), "beta", &[4]),
            ("last", "kernel", &[1, 1, 4, 3]),
            ("last", "bias", &[3]),
        ] {
            let array = found.get(format!("{layer}/{kind}").as_str());
            let array =
                array.unwrap_or_else(|| panic!("{name}: {layer}/{kind} is not in {:?}", found.keys()));
            assert_eq!(array.shape, shape, "{name}: {layer}/{kind}");
            if kind == "kernel" {
                assert_eq!(array.values, ramp(shape.iter().product()), "{name}: {layer}");
            }
        }
        assert!(weights.arrays.iter().all(|array| !array.name.contains("iterations")), "{name}");
    }
    let tao = keras(KERAS[3].1);
    assert_eq!(
        (tao.data_format, tao.backend.as_deref()),
        (Some(DataFormat::ChannelsFirst), Some("tensorflow"))
    );
    assert_eq!(by_name(&tao.arrays)["first_bn/moving_mean"].values, [2.0, 2.125, 2.25, 2.375]);
    assert_eq!(keras(KERAS[1].1).data_format, Some(DataFormat::ChannelsLast));
}

#[test]
fn keras_1_is_understood_by_the_place_of_its_weights() {
    let weights = keras(THEANO);
    let found = by_name(&weights.arrays);
    assert_eq!(found["fire2/first/kernel"].shape, [4, 2, 3, 3]);
    assert_eq!(found["fire2/first/bias"].values, ramp(4));
    assert_eq!(found["first_bn/moving_variance"].values, [3.0, 3.125, 3.25, 3.375]);
    assert_eq!((weights.data_format, weights.backend), (None, None));
}

#[test]
fn layers_without_names_are_an_error() {
    let error = read(NAMELESS).unwrap_err().to_string();
    assert!(error.contains(".keras"), "{error}");
}

#[test]
fn torch_and_safetensors_give_the_state_dict() {
    for (name, bytes) in [("zip", ZIP), ("legacy", LEGACY), ("nested", NESTED), ("safetensors", SAFETENSORS)]
    {
        let (Weights::Torch(arrays) | Weights::Safetensors(arrays)) = read(bytes).unwrap() else {
            panic!("{name}");
        };
        let found = by_name(&arrays);
        assert_eq!(found.len(), 8, "{name}: the counter is left out");
        assert_eq!(found["conv1.weight"].shape, [4, 2, 3, 3], "{name}");
        assert_eq!(found["conv1.weight"].values, ramp(72), "{name}");
        assert_eq!(found["conv1.transposed"].shape, [2, 3], "{name}");
        assert_eq!(found["conv1.transposed"].values, [0.0, 0.25, 0.5, 0.125, 0.375, 0.625], "{name}");
        for kind in ["half", "brain", "double"] {
            assert_eq!(found[kind].values, ramp(3), "{name}: {kind}");
        }
        assert_eq!(found["parameter"].values, ramp(2), "{name}");
        assert_eq!(found["view"].values, [0.5, 0.625], "{name}");
        assert_eq!((found["scalar"].shape.len(), found["scalar"].values[0]), (0, 0.5), "{name}");
    }
}

#[test]
fn a_pickle_that_wants_more_than_tensors_is_refused_by_name() {
    let error = read(UNSAFE).unwrap_err().to_string();
    assert!(error.contains("`argparse.Namespace`"), "{error}");
    // cos\nsystem\n(S'true'\ntR. in a legacy file.
    let mut attack = LEGACY[..15].to_vec();
    attack.extend_from_slice(b"\x80\x02cposix\nsystem\nX\x04\0\0\0true\x85R.");
    let error = read(&attack).unwrap_err().to_string();
    assert!(error.contains("`posix.system`"), "{error}");
}

/// A Darknet file of version 0.2 with these numbers.
fn darknet(values: &[f32]) -> Vec<u8> {
    let header = [0u32, 2, 5, 64, 0].into_iter().flat_map(u32::to_le_bytes);
    header.chain(values.iter().flat_map(|value| value.to_le_bytes())).collect()
}

#[test]
fn darknet_headers_are_understood() {
    let weights = darknet::Weights { seen: 64, values: ramp(5) };
    assert_eq!(read(&darknet(&ramp(5))).unwrap(), Weights::Darknet(weights.clone()));
    let mut old = darknet(&ramp(5));
    old[4] = 1;
    old.drain(16..20);
    assert_eq!(read(&old).unwrap(), Weights::Darknet(weights));
    assert!(matches!(read(&darknet(&ramp(5))[..38]), Err(WeightsError::Damaged { .. })));
    assert_eq!(read(b"neither this nor that, but long enough"), Err(WeightsError::Unknown));
}

/// What is cut or changed anywhere is read or refused, quickly and without a panic.
#[test]
fn damage_is_an_error_and_never_a_panic() {
    let files =
        KERAS.map(|(_, bytes)| bytes).into_iter().chain([NAMELESS, THEANO, ZIP, LEGACY, NESTED, SAFETENSORS]);
    for bytes in files {
        let step = bytes.len() / 200 + 1;
        for end in (0..bytes.len()).step_by(step) {
            checked(&bytes[..end]);
        }
        let mut random = 1u64;
        for at in 0..bytes.len().min(2000) {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            // The first bytes hold most of the structure, and the last those of a zip.
            let at = if bytes.len() <= 2000 { at } else { (random >> 20) as usize % bytes.len() };
            for change in [0x01, 0x80, 0xff] {
                let mut bad = bytes.to_vec();
                bad[at] ^= change;
                checked(&bad);
            }
        }
    }
}

fn checked(bytes: &[u8]) {
    let begun = Instant::now();
    if let Ok(
        Weights::Keras(keras::Weights { arrays, .. }) | Weights::Torch(arrays) | Weights::Safetensors(arrays),
    ) = read(bytes)
    {
        let values: usize = arrays.iter().map(|array| array.values.len()).sum();
        assert!(values <= 4 * bytes.len(), "{values} values from {} bytes", bytes.len());
    }
    assert!(begun.elapsed() < Duration::from_secs(2));
}

/// Few bytes that ask for much.
#[test]
fn giants_are_refused() {
    let torch = |pickle: &[u8]| {
        let mut bytes = LEGACY[..15].to_vec();
        bytes.extend_from_slice(b"\x80\x02M\xe9\x03.\x80\x02}.");
        bytes.extend_from_slice(pickle);
        read(&bytes).unwrap_err()
    };
    let tensor = |sizes: &[u8], strides: &[u8]| {
        let mut pickle =
            b"\x80\x02}X\x01\0\0\0wctorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storage".to_vec();
        pickle.extend_from_slice(b"ctorch\nFloatStorage\nX\x01\0\0\0kX\x03\0\0\0cpuK\x01tQK\0");
        pickle.extend_from_slice(sizes);
        pickle.extend_from_slice(strides);
        pickle.extend_from_slice(b"\x89}tRs.\x80\x02]X\x01\0\0\0ka.\x01\0\0\0\0\0\0\0\0\0\0\0");
        torch(&pickle)
    };
    // One number, shown a billion times by a stride of 0; and more than there are.
    let error = tensor(b"J\xff\xff\xff\x7f\x85", b"K\0\x85").to_string();
    assert!(error.contains("too large"), "{error}");
    let error = tensor(b"K\x02\x85", b"K\x01\x85").to_string();
    assert!(error.contains("beyond its storage"), "{error}");
    let error = tensor(b"K\x02K\x02\x86", b"K\x01\x85").to_string();
    assert!(error.contains("beyond its storage"), "{error}");
    // A long name of a storage, recalled over and over.
    let mut pickle = b"\x80\x02(X\x07\0\0\0storagectorch\nFloatStorage\nX\xe8\x03\0\0".to_vec();
    pickle.extend_from_slice(&[b'k'; 1000]);
    pickle.extend_from_slice(b"X\x03\0\0\0cpuK\x01tq\0");
    pickle.extend_from_slice(&b"0h\0Q".repeat(100));
    let error = torch(&pickle).to_string();
    assert!(error.contains("without end"), "{error}");
    // A text of 4 GB, a stack that is empty, a list in itself.
    for pickle in [
        &b"\x80\x02X\xff\xff\xff\xff"[..],
        b"\x80\x02R.",
        b"\x80\x02}q\0X\x01\0\0\0ah\0s.",
        b"\x80\x02(((.",
        b"",
    ] {
        torch(pickle);
    }
}
