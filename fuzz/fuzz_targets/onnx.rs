#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| oxidet_fuzz::run("onnx", bytes));
