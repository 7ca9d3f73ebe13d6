//! What strangers send: all readers on sound files, on these cut and changed, on what the fuzzer has found, and on small files that claim
//! much. They may refuse; they may not panic, and may not take more memory than `docs/security.md` says.
#![allow(clippy::unwrap_used, reason = "clippy knows functions that are tests, not those that tests call")]

#[path = "../../fuzz/src/lib.rs"]
#[allow(dead_code, reason = "what only the fuzzer calls")]
mod fuzz;

use std::alloc::{GlobalAlloc, Layout, System};
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use fuzz::{TARGETS, seeds};
use oxidet_proto::onnx::{self, GraphProto, ModelProto, NodeProto};
use oxidet_proto::weights;
use oxidet_runtime::{Artifact, EngineRecord};
use oxidet_vision::image::{Image, encode_png};
use oxidet_vision::{ImageError, Picture};

/// The allocator of this program, which knows how much was in use at most.
struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

// SAFETY: the system's allocator does everything.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = NOW.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        MOST.fetch_max(now, Ordering::Relaxed);
        // SAFETY: as it was asked for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as it was asked for.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What a reader may have beside a multiple of the file.
const BASE: usize = 64 << 20;
/// The multiple.
const TIMES: usize = 300;
/// For any file here; the largest has 4 MB.
const LONGEST: Duration = Duration::from_secs(10);

/// Runs what reads a file of `len` bytes within these bounds.
fn bounded(what: &str, len: usize, read: impl FnOnce()) {
    let before = NOW.load(Ordering::Relaxed);
    MOST.store(before, Ordering::Relaxed);
    let start = Instant::now();
    read();
    let (took, taken) = (start.elapsed(), MOST.load(Ordering::Relaxed).saturating_sub(before));
    assert!(taken <= BASE + TIMES * len, "{what}: {len} bytes take {taken} bytes of memory");
    assert!(took <= LONGEST, "{what}: {len} bytes take {took:?}");
}

fn run(name: &str, what: &str, bytes: &[u8]) {
    bounded(&format!("{name}, {what}"), bytes.len(), || fuzz::run(name, bytes));
}

/// One function, as what it measures is of the whole program.
#[test]
fn readers_refuse_and_stay_within_bounds() {
    let seeds = seeds::seeds();
    for (name, _) in TARGETS {
        assert!(
            seeds.iter().any(|(target, bytes)| *target == name && !bytes.is_empty()),
            "{name} has no seed"
        );
    }
    for (number, (name, bytes)) in seeds.iter().enumerate() {
        run(name, &format!("seed {number}"), bytes);
        changed(number, bytes, |what, bytes| run(name, &what, bytes));
    }
    of_the_runtime(&seeds);
    found();
    claims();
}

/// A file cut, with bits flipped, and with bytes of it made large, small and foreign: some hundreds, the same every time.
fn changed(seed: usize, bytes: &[u8], mut each: impl FnMut(String, &[u8])) {
    const ROUNDS: usize = 200;
    let mut state = seed as u64 + 1;
    let mut random = move |below: usize| {
        // Knuth's MMIX.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below.max(1)
    };
    for number in 0..ROUNDS {
        let at = random(bytes.len());
        each(format!("cut at {at}"), &bytes[..at]);
        let mut flipped = bytes.to_vec();
        flipped[at] ^= 1 << random(8);
        each(format!("flipped at {at}"), &flipped);
        let mut filled = bytes.to_vec();
        let end = (at + 1 + random(8)).min(filled.len());
        filled[at..end].fill([0, 0xff, 0x7f, b'9'][number % 4]);
        each(format!("filled from {at} to {end}"), &filled);
        let mut doubled = bytes[..end].to_vec();
        doubled.extend_from_slice(&bytes[at..]);
        each(format!("doubled from {at} to {end}"), &doubled);
    }
}

/// Readers of the runtime, which the fuzzer does not link.
fn of_the_runtime(seeds: &[(&str, Vec<u8>)]) {
    for (number, (_, model)) in seeds.iter().enumerate().filter(|(_, (name, _))| *name == "onnx") {
        changed(number, model, |what, bytes| {
            bounded(&format!("artifact, {what}"), bytes.len(), || {
                if let Ok(artifact) = Artifact::load(bytes, None) {
                    let _ = artifact.network();
                }
            });
        });
    }
    let page = include_str!("../../docs/formats/engine.md");
    let record = page.split("```json\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    EngineRecord::parse("m.engine.json", record).unwrap();
    changed(0, record.as_bytes(), |what, bytes| {
        let Ok(text) = std::str::from_utf8(bytes) else { return };
        bounded(&format!("record, {what}"), bytes.len(), || {
            let _ = EngineRecord::parse("m.engine.json", text);
        });
    });
}

/// What the fuzzer has found, once mended.
fn found() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/regressions");
    for (name, _) in TARGETS {
        let Ok(entries) = fs::read_dir(folder.join(name)) else { continue };
        for entry in entries {
            let path = entry.unwrap().path();
            run(name, &path.display().to_string(), &fs::read(&path).unwrap());
        }
    }
}

/// Small files that claim much.
fn claims() {
    let deep = |open: &str, times| open.repeat(times).into_bytes();
    run("prototxt", "deep", &deep("a { ", 500_000));
    run("prototxt", "wide", &deep("nms_config { top_k: 1 } ", 150_000));
    run("coco", "deep", &deep("[", 2_000_000));
    run("coco", "deep objects", &deep("{\"a\":", 500_000));
    run("manifest", "deep", &deep("[", 2_000_000));
    run("scales", "deep", &deep("{\"tensor_scales\":", 100_000));
    run("kitti", "deep XML", &deep("<a>", 500_000));
    let laughs = "<!DOCTYPE a [<!ENTITY a \"aaaaaaaaaa\"><!ENTITY b \"&a;&a;&a;&a;&a;&a;&a;&a;\"><!ENTITY c \"&b;&b;&b;&b;&b;&b;&b;&b;\">\
        <!ENTITY d \"&c;&c;&c;&c;&c;&c;&c;&c;\"><!ENTITY e \"&d;&d;&d;&d;&d;&d;&d;&d;\"><!ENTITY f \"&e;&e;&e;&e;&e;&e;&e;&e;\">\
        ]><annotation>&f;&f;&f;</annotation>";
    run("kitti", "entities", laughs.as_bytes());
    run("kitti", "lines", &deep("x\n", 1_000_000));
    run("tfrecord", "length", &[0xff; 64]);
    run("cache", "lines", &deep("a: 3c010a14\n", 300_000));
    let mut safetensors = u64::MAX.to_le_bytes().to_vec();
    safetensors.extend_from_slice(b"{}");
    run("weights", "length of a header", &safetensors);
    run("checkpoint", "length of a header", &safetensors);
    let empty = GraphProto { node: vec![NodeProto::default(); 1_500_000], ..GraphProto::default() };
    let model = ModelProto { graph: Some(empty), ..ModelProto::default() }.to_bytes();
    bounded("onnx, empty nodes", model.len() / 100, || assert!(onnx::decode(&model).is_err()));
    // A picture of 256 million pixels in a few bytes: its size is allowed, its pixels are not there.
    let mut png = encode_png(&Image::filled(4, 4, &[1u8])).unwrap();
    png[16..24].copy_from_slice(&[0, 0, 0x3e, 0x80, 0, 0, 0x3e, 0x80]);
    let sum = crc32(&png[12..29]);
    png[29..33].copy_from_slice(&sum.to_be_bytes());
    bounded("images, claimed size", (2 << 30) / TIMES, || {
        let error = Picture::decode(&png, 8).err().unwrap();
        assert!(!matches!(error, ImageError::TooLarge { .. }), "{error}");
    });
    png[16..24].copy_from_slice(&[0, 0, 0x40, 0, 0, 0, 0x40, 0]);
    let sum = crc32(&png[12..29]);
    png[29..33].copy_from_slice(&sum.to_be_bytes());
    bounded("images, too many pixels", png.len(), || {
        assert!(matches!(Picture::decode(&png, 8), Err(ImageError::TooLarge { .. })));
    });
    let zip = bomb();
    bounded("weights, zip bomb", zip.len(), || assert!(weights::read(&zip).is_err()));
}

/// The checksum of PNG's chunks.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
    !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}

/// An archive of torch whose pickle is a hundred megabytes of zeros in less than one.
fn bomb() -> Vec<u8> {
    // A stored block of deflate for the zeros would be as long as they are; so runs of 258 zeros at distance 1, fixed codes: a literal 0
    // (00110000), then length 258 (11000101) and distance 1 (00000) over and over, then the end (0000000).
    let mut bits: Vec<u8> = vec![1, 1, 0];
    bits.extend([0, 0, 1, 1, 0, 0, 0, 0]);
    let runs = 400_000;
    for _ in 0..runs {
        bits.extend([1, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0]);
    }
    bits.extend([0; 7]);
    let deflated: Vec<u8> = bits
        .chunks(8)
        .map(|byte| byte.iter().enumerate().fold(0, |all, (at, bit)| all | bit << at))
        .collect();
    let name = b"archive/data.pkl";
    let size = 1 + 258 * runs as u32;
    let sizes = [0, deflated.len() as u32, size].map(u32::to_le_bytes).concat();
    let lengths = [name.len() as u16, 0].map(u16::to_le_bytes).concat();
    let mut zip = b"PK\x03\x04\x14\x00\x00\x00\x08\x00\x00\x00\x21\x00".to_vec();
    for part in [&sizes[..], &lengths, name, &deflated] {
        zip.extend_from_slice(part);
    }
    let directory = zip.len() as u32;
    zip.extend_from_slice(b"PK\x01\x02\x14\x00\x14\x00\x00\x00\x08\x00\x00\x00\x21\x00");
    for part in [&sizes[..], &lengths, &[0; 14], name] {
        zip.extend_from_slice(part);
    }
    let length = zip.len() as u32 - directory;
    zip.extend_from_slice(b"PK\x05\x06\x00\x00\x00\x00\x01\x00\x01\x00");
    zip.extend([length, directory].map(u32::to_le_bytes).concat());
    zip.extend_from_slice(&[0; 2]);
    zip
}
