//! The `tensorrt` backend on a TensorRT that computes nothing (`tests/fake_tensorrt`), built against real headers: every call of the shim
//! and of the backend, errors included. What TensorRT itself does with them needs a GPU.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "clippy knows functions that are tests, not those that tests call")]
#![cfg_attr(not(fake_tensorrt), allow(dead_code, reason = "without headers there is nothing to build"))]

mod support;

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use oxidet_graph::onnx::{NmsTail, Suppression};
use oxidet_proto::manifest::Precision;
use oxidet_runtime::tensorrt::{BuildError, Numbers, PlanFacts, Progress, Severity, TensorRt};
use oxidet_runtime::{Backend, Device, Engine, EngineOptions, Profile};
use oxidet_vision::{NmsConfig, RawDetections};

use support::model::{Model, Tail, images};
use support::{Fake, fakes};

const FACTS: PlanFacts = PlanFacts { classes: 2, suppression: None, built: None };
const CACHE: &[u8] = b"TRT-8503-EntropyCalibration2\nInput: 3c010a14\nconv_1: 3d418306\n";

fn options() -> EngineOptions {
    EngineOptions {
        device: Device::TensorRt(0),
        profile: Profile { min: 1, opt: 2, max: 4 },
        ..EngineOptions::default()
    }
}

fn build(backend: &TensorRt, model: Model<'_>, options: &EngineOptions) -> Result<String, BuildError> {
    let built = backend.build(&model.onnx(), options, &mut |_| ControlFlow::Continue(()))?;
    Ok(String::from_utf8(built.plan).unwrap())
}

/// What was asked of the builder: lines that the fake writes behind the model's.
fn asked(fake: &Fake, model: Model<'_>, options: &EngineOptions) -> Vec<String> {
    let plan =
        build(&fake.backend(), model, options).unwrap_or_else(|error| panic!("{}: {error}", fake.version));
    let mut lines = plan.lines().skip_while(|line| *line != "layer conv_10 convolution").skip(1);
    // The orders of the test end with an empty line.
    lines.by_ref().find(|line| line.is_empty()).unwrap();
    lines.filter(|line| !line.starts_with("timing")).map(str::to_owned).collect()
}

fn refused(fake: &Fake, model: Model<'_>, options: &EngineOptions) -> String {
    build(&fake.backend(), model, options).unwrap_err().to_string()
}

fn run(engine: &dyn Engine, batch: usize) -> Result<RawDetections, String> {
    let mut session = engine.session().map_err(|error| error.to_string())?;
    let mut out = RawDetections::default();
    session.run(&images(batch), batch, &mut out).map_err(|error| error.to_string())?;
    Ok(out)
}

/// Files in a folder and its folders, by extension.
fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path, extension));
        } else if path.extension().is_some_and(|of| of == extension) {
            found.push(path);
        }
    }
    found
}

macro_rules! fake_tests {
    ($($(#[$meta:meta])* fn $name:ident() $body:block)*) => {
        $(
            $(#[$meta])*
            #[test]
            #[cfg_attr(
                not(fake_tensorrt),
                ignore = "needs a C++ compiler, and OXIDET_TRT_HEADERS naming folders with TensorRT's headers (cargo xtask check-shim)"
            )]
            fn $name() $body
        )*
    };
}

mod files;

fake_tests! {
    fn prepared_engines_give_raw_detections_for_every_batch_of_the_profile() {
        for fake in fakes() {
            let backend = fake.backend();
            let engine = backend.prepare(&Model::default().artifact(), &options()).unwrap();
            let signature = engine.signature();
            assert_eq!((signature.channels, signature.height, signature.width), (3, 4, 6));
            assert_eq!((signature.batch, signature.classes), (None, 2));
            // The last are of more images than the engine takes at once.
            for batch in [1, 3, 4, 5, 9] {
                let out = run(engine.as_ref(), batch).unwrap();
                assert!(!out.suppressed && (out.batch, out.candidates, out.classes) == (batch, 5, 2));
                // The fake copies what goes in.
                let input = images(batch);
                for image in 0..batch {
                    assert_eq!(out.image_boxes(image), &input[image * 72..][..20]);
                    assert_eq!(out.image_scores(image), &input[image * 72..][..10]);
                }
            }
            let mut session = engine.session().unwrap();
            let error = session.run(&[0.0; 71], 1, &mut RawDetections::default()).unwrap_err().to_string();
            assert_eq!(error, "71 values for 1 images of 3x4x6");
        }
    }

    fn a_fixed_batch_runs_any_number_of_images() {
        for fake in fakes() {
            let model = Model { batch: Some(2), ..Model::default() };
            let wrong = fake.backend().prepare(&model.artifact(), &options()).err().unwrap().to_string();
            assert!(wrong.contains("the model's batches are of 2 images, not of 1 to 4"), "{wrong}");
            let fitting = EngineOptions { profile: Profile::default(), ..options() };
            let engine = fake.backend().prepare(&model.artifact(), &fitting).unwrap();
            assert_eq!(engine.signature().batch, Some(2));
            let out = run(engine.as_ref(), 3).unwrap();
            assert_eq!((out.batch, out.boxes.len(), out.scores.len()), (3, 60, 30));
            assert_eq!(out.image_boxes(2), &images(3)[144..164]);
            // No profile is made where nothing is open.
            assert_eq!(asked(fake, model, &fitting).iter().find(|line| line.starts_with("profile")), None);
        }
    }

    fn sessions_of_threads_share_an_engine() {
        for fake in fakes() {
            let engine = fake.backend().prepare(&Model::default().artifact(), &options()).unwrap();
            let engine = engine.as_ref();
            let results: Vec<_> = std::thread::scope(|scope| {
                let threads: Vec<_> = (1..4).map(|batch| scope.spawn(move || {
                    let mut session = engine.session().map_err(|error| error.to_string())?;
                    // All of them hold a session at once.
                    std::thread::sleep(std::time::Duration::from_millis(50));
                    let mut out = RawDetections::default();
                    session.run(&images(batch), batch, &mut out).map_err(|error| error.to_string())?;
                    Ok::<_, String>(out.batch)
                })).collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).collect()
            });
            if (fake.version.major, fake.version.minor) == (8, 5) {
                let failures: Vec<_> = results.iter().filter_map(|result| result.as_ref().err()).collect();
                assert!(failures.len() == 2 && failures[0].contains("one session at a time"), "{failures:?}");
            } else {
                assert_eq!(results, [Ok(1), Ok(2), Ok(3)], "{}", fake.version);
            }
        }
    }

    fn engines_that_suppress_give_suppressed_detections() {
        for fake in fakes() {
            for tail in [Tail::Batched, Tail::Efficient] {
                let (prefix, tail_name) = match tail {
                    Tail::Batched => (["BatchedNMS", "BatchedNMS_1", "BatchedNMS_2", "BatchedNMS_3"], NmsTail::Batched),
                    _ => (["num_detections", "detection_boxes", "detection_scores", "detection_classes"], NmsTail::Efficient),
                };
                let orders = format!(
                    "data {} 2 1\ndata {} 0.1 0.2 0.3 0.4\ndata {} 0.9 0.8 0\ndata {} 1 0 -1\n",
                    prefix[0], prefix[1], prefix[2], prefix[3]
                );
                let model = Model { tail, orders: &orders, ..Model::default() };
                if tail == Tail::Batched && fake.version.major >= 11 {
                    let error = refused(fake, model, &options());
                    assert!(error.contains("no BatchedNMS") && error.contains("--nms none or --nms efficient"), "{error}");
                    continue;
                }
                let plan = build(&fake.backend(), model, &options()).unwrap();
                let nms = NmsConfig { score_threshold: 0.1, iou_threshold: 0.5, top_k: 8, keep_top_k: 3 };
                let load = |tail, nms| {
                    let facts = PlanFacts { suppression: Some(Suppression { tail, nms }), ..FACTS };
                    fake.backend().load(plan.as_bytes(), &facts, &options())
                };
                let out = run(load(tail_name, nms).unwrap().as_ref(), 2).unwrap();
                assert!(out.suppressed && (out.batch, out.candidates, out.classes) == (2, 3, 2));
                assert_eq!(out.scores, [0.0, 0.9, 0.8, 0.0, 0.0, 0.0, 0.0, 0.9, 0.0, 0.0, 0.0, 0.0]);
                assert_eq!(out.image_boxes(1)[..4], [0.1, 0.2, 0.3, 0.4]);
                let error = load(tail_name, NmsConfig { keep_top_k: 200, ..nms }).err().unwrap().to_string();
                assert!(error.contains("keeps 3 detections") && error.contains("says 200"), "{error}");
                let other = if tail == Tail::Batched { NmsTail::Efficient } else { NmsTail::Batched };
                let error = load(other, nms).err().unwrap().to_string();
                assert!(error.contains("of two models"), "{error}");
                // The same model prepared is cut before its node, and raw.
                let cut = Model { tail, ..Model::default() }.artifact();
                assert!(fake.backend().prepare(&cut, &options()).err().unwrap().to_string().contains("outputs are"));
            }
        }
    }

    fn precisions_become_flags_or_types() {
        for fake in fakes() {
            let with = |change: &dyn Fn(&mut EngineOptions)| {
                let mut options = options();
                change(&mut options);
                options
            };
            let plain = Model::default();
            let quantized = Model { quantized: true, ..plain };
            let half = Model { half: true, ..plain };
            let fp16 = with(&|options| options.precision = Precision::Fp16);
            let int8 = with(&|options| options.precision = Precision::Int8);
            let ranges = with(&|options| (options.precision, options.calibration_cache) = (Precision::Int8, Some(CACHE.into())));
            let strict = |options: &EngineOptions| EngineOptions { strict: true, ..options.clone() };
            let flags = |model, options: &EngineOptions| {
                let lines = asked(fake, model, options);
                let of_interest = |line: &&String| {
                    ["flag", "strongly", "precision", "no tf32", "calibra"].iter().any(|begin| line.starts_with(begin))
                };
                lines.iter().filter(of_interest).map(String::as_str).collect::<Vec<_>>().join(", ")
            };
            let text = String::from_utf8(CACHE.into()).unwrap();
            if fake.version.major >= 11 {
                assert_eq!(flags(plain, &options()), "strongly typed");
                assert_eq!(flags(plain, &strict(&options())), "strongly typed, no tf32");
                assert_eq!(flags(half, &fp16), "strongly typed");
                assert_eq!(flags(quantized, &int8), "strongly typed");
                let error = refused(fake, plain, &fp16);
                assert!(error.contains("oxidet export --target trt11 --data_type fp16"), "{error}");
                let error = refused(fake, plain, &int8);
                assert!(error.contains("oxidet export --target trt11 --data_type int8"), "{error}");
                assert!(refused(fake, plain, &ranges).contains("no calibration"));
                continue;
            }
            assert_eq!(flags(plain, &options()), "");
            assert_eq!(flags(plain, &strict(&options())), "no tf32");
            assert_eq!(flags(plain, &fp16), "flag fp16");
            assert_eq!(
                flags(plain, &strict(&fp16)),
                "flag fp16, flag obey, precision conv_1/convolution half , precision head half , precision conv_10 half "
            );
            assert_eq!(flags(quantized, &options()), "flag int8");
            assert_eq!(flags(quantized, &int8), "flag fp16, flag int8");
            let error = refused(fake, plain, &int8);
            assert!(error.contains("int8 needs ranges"), "{error}");
            // The header is that of the version that builds; the fake refuses others, as TensorRT does.
            let calibrated = text.len() + if fake.version.major >= 10 { 2 } else { 0 };
            assert_eq!(
                flags(plain, &ranges),
                format!("calibrated {calibrated}, calibration profile, flag fp16, flag int8")
            );
            let floats = EngineOptions { float_layers: ["conv_1".to_owned()].into(), ..ranges.clone() };
            assert!(flags(plain, &floats).ends_with(
                "flag fp16, flag int8, flag prefer, precision conv_1/convolution half half, precision conv_1/mish half half"
            ));
            assert!(flags(plain, &strict(&floats)).ends_with(
                "flag int8, flag obey, precision conv_1/convolution float float, precision conv_1/mish float float, \
                precision head int8 , precision conv_10 int8 "
            ));
            let unknown = EngineOptions { float_layers: ["conv_2".to_owned()].into(), ..ranges.clone() };
            let error = refused(fake, plain, &unknown);
            assert!(error.contains("there is no layer `conv_2` to keep in float"), "{error}");
            if fake.version.major >= 10 {
                assert_eq!(flags(half, &fp16), "strongly typed");
                assert_eq!(flags(quantized, &strict(&int8)), "strongly typed");
            } else {
                assert_eq!(flags(half, &fp16), "flag fp16");
                assert_eq!(flags(quantized, &strict(&int8)), "flag int8");
            }
            for (order, options) in [("slow fp16", &fp16), ("slow int8", &ranges)] {
                let error = refused(fake, Model { orders: order, ..plain }, options);
                assert!(error.contains("this device does not compute fast in"), "{error}");
            }
            let error = refused(fake, Model { orders: "fail calibration x", ..plain }, &ranges);
            assert!(error.contains("does not take the calibration cache") && error.contains("scaling factors"), "{error}");
        }
    }

    fn device_profile_and_workspace_reach_the_builder() {
        for fake in fakes() {
            let everything = EngineOptions { workspace: Some(1 << 30), ..options() };
            let lines = asked(fake, Model::default(), &everything);
            for line in ["profile 1 2 4", "workspace 1073741824", "detailed"] {
                assert!(lines.iter().any(|found| found == line), "{line}: {lines:?}");
            }
            let sharing = lines.iter().any(|line| line == "sharing profiles");
            assert_eq!(sharing, (fake.version.major, fake.version.minor) == (8, 6));
            // A float16 model runs on an accelerator with every version.
            let half = Model { half: true, orders: "dla 2", ..Model::default() };
            let dla = |core| EngineOptions {
                device: Device::Dla(core),
                precision: Precision::Fp16,
                profile: Profile { min: 2, opt: 2, max: 2 },
                ..options()
            };
            assert!(asked(fake, half, &dla(1)).contains(&"on dla 1 default fallback".to_owned()));
            assert!(refused(fake, half, &dla(2)).contains("no DLA core 2: this device has 2"));
            let plan = build(&fake.backend(), half, &dla(0)).unwrap();
            assert!(fake.backend().load(plan.as_bytes(), &FACTS, &dla(0)).is_ok());
            let error = fake.backend().load(plan.as_bytes(), &FACTS, &options()).err().unwrap().to_string();
            assert!(error.contains("no DLA core is chosen"), "{error}");
            let open = EngineOptions { profile: options().profile, ..dla(0) };
            assert!(refused(fake, half, &open).contains("batches of one size only"));
            let single = EngineOptions { precision: Precision::Fp32, ..dla(0) };
            assert!(refused(fake, Model { half: false, ..half }, &single).contains("not in fp32"));
            for device in [Device::Cpu, Device::Cuda(0)] {
                let plan = build(&fake.backend(), Model::default(), &options()).unwrap();
                let loaded = fake.backend().load(plan.as_bytes(), &FACTS, &EngineOptions { device, ..options() });
                assert!(loaded.err().unwrap().to_string().contains("on an NVIDIA GPU or DLA"));
                let error = refused(fake, Model::default(), &EngineOptions { device, ..options() });
                assert!(error.contains("on an NVIDIA GPU or DLA"), "{error}");
            }
            let error = refused(fake, Model::default(), &EngineOptions { device: Device::TensorRt(1), ..options() });
            assert!(error.contains("there is no GPU 1"), "{error}");
        }
    }

    fn failures_say_what_tensorrt_says() {
        for fake in fakes() {
            let refused_with = |orders| refused(fake, Model { orders, ..Model::default() }, &options());
            let version = fake.version;
            assert_eq!(
                refused_with("fail parse 1 no importer registered for op Mish"),
                format!(
                    "the tensorrt backend cannot run this model: the ONNX parser refuses the model: node `conv_1/mish`: no \
                    importer registered for op Mish (TensorRT {version})"
                )
            );
            assert!(refused_with("fail parse -1 the graph has a cycle").contains("node -1: the graph has a cycle"));
            assert!(refused_with("fail build out of workspace").contains("an engine of this model: out of workspace"));
            let load = |orders| {
                let plan = build(&fake.backend(), Model { orders, ..Model::default() }, &options()).unwrap();
                fake.backend().load(plan.as_bytes(), &FACTS, &options())
            };
            let error = load("fail open plugin EfficientNMS_TRT is not registered").err().unwrap().to_string();
            assert!(error.contains("EfficientNMS_TRT is not registered"), "{error}");
            let error = load("fail context out of memory").unwrap().session().err().unwrap().to_string();
            assert!(error.contains("cannot make an execution context: out of memory"), "{error}");
            let error = run(load("fail enqueue illegal memory access").unwrap().as_ref(), 1).unwrap_err();
            assert_eq!(error, "TensorRT cannot run the engine: illegal memory access");
            // Plans of other versions, and what is none.
            for plan in ["FAKEPLAN 7000\n", "ONNX", ""] {
                let error = fake.backend().load(plan.as_bytes(), &FACTS, &options()).err().unwrap().to_string();
                assert!(error.contains("version tag does not match"), "{error}");
                assert!(error.contains(&format!("This is TensorRT {version} on Host (sm_00)")), "{error}");
            }
            let three = PlanFacts { classes: 3, ..FACTS };
            let plan = build(&fake.backend(), Model::default(), &options()).unwrap();
            let error = fake.backend().load(plan.as_bytes(), &three, &options()).err().unwrap().to_string();
            assert!(error.contains("scores of 2 classes; the labels are of 3"), "{error}");
            assert!(refused(fake, Model::default(), &EngineOptions { profile: Profile { min: 3, opt: 2, max: 1 }, ..options() })
                .contains("1 <= min <= opt <= max"));
        }
    }

    fn plans_describe_themselves() {
        for fake in fakes() {
            let plan = build(&fake.backend(), Model::default(), &options()).unwrap();
            let description = fake.backend().describe(plan.as_bytes(), &options()).unwrap();
            assert_eq!((description.version, description.gpu.as_str()), (fake.version, "Host (sm_00)"));
            assert_eq!(description.layers, "{\"Layers\": [\"fake\"]}");
            let [input, boxes, scores] = &description.tensors[..] else { panic!("{description:?}") };
            assert!(input.is_input && !boxes.is_input && input.numbers == Numbers::Float);
            assert_eq!((input.dims.as_slice(), input.batch), (&[None, Some(3), Some(4), Some(6)][..], (1, 2, 4)));
            assert_eq!((scores.name.as_str(), &scores.dims[1..]), ("scores", &[Some(5), Some(2)][..]));
        }
    }

    fn progress_is_told_and_cancels() {
        for fake in fakes() {
            let onnx = Model::default().onnx();
            let mut heard = Vec::new();
            fake.backend()
                .build(&onnx, &options(), &mut |progress| {
                    heard.push(format!("{progress:?}"));
                    ControlFlow::Continue(())
                })
                .unwrap();
            if fake.version.major < 10 {
                assert!(heard.is_empty(), "{heard:?}");
                continue;
            }
            assert_eq!(heard[0], "Phase { name: \"Building Engine\", parent: None, steps: 3 }");
            assert_eq!(heard[1], "Phase { name: \"Tactics\", parent: Some(\"Building Engine\"), steps: 2 }");
            assert_eq!(heard[2], "Step { phase: \"Tactics\", step: 0 }");
            assert_eq!(heard.last().unwrap(), "End { phase: \"Building Engine\" }");
            let mut steps = 0;
            let cancelled = fake.backend().build(&onnx, &options(), &mut |progress| {
                steps += usize::from(matches!(progress, Progress::Step { .. }));
                if steps == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            });
            assert!(matches!(cancelled, Err(BuildError::Cancelled)) && steps == 2);
            // Also where nothing can be stopped at once.
            let cancelled = fake.backend().build(&onnx, &options(), &mut |progress| match progress {
                Progress::Phase { .. } => ControlFlow::Break(()),
                _ => ControlFlow::Continue(()),
            });
            assert!(matches!(cancelled, Err(BuildError::Cancelled)));
            // A listener that panics cancels as well: the panic does not pass through C++.
            let cancelled = fake.backend().build(&onnx, &options(), &mut |progress| match progress {
                Progress::Step { .. } => panic!("on purpose"),
                _ => ControlFlow::Continue(()),
            });
            assert!(matches!(cancelled, Err(BuildError::Cancelled)));
        }
    }

    fn plugins_of_the_user_are_opened_or_named() {
        for fake in fakes() {
            let with = |plugins| EngineOptions { plugins: vec![plugins], ..options() };
            for _ in 0..2 {
                build(&fake.backend(), Model::default(), &with(fake.plugins.clone())).unwrap();
            }
            let error = refused(fake, Model::default(), &with("/no/such/plugin.so".into()));
            assert!(error.contains("/no/such/plugin.so"), "{error}");
        }
    }

    fn plans_and_timings_are_kept_under_what_decides_them() {
        for fake in fakes() {
            let dir = tempfile::tempdir().unwrap();
            let kept = EngineOptions { cache_dir: Some(dir.path().to_owned()), ..options() };
            let quiet = &mut |_: Progress<'_>| ControlFlow::Continue(());
            let prepare = |model: Model<'_>| {
                let quiet = &mut |_: Progress<'_>| ControlFlow::Continue(());
                fake.backend().prepare_with(&model.artifact(), &kept, quiet).unwrap()
            };
            assert!(prepare(Model::default()).built);
            let again = prepare(Model::default());
            assert!(!again.built && again.set_aside.is_none());
            assert_eq!(run(again.engine.as_ref(), 4).unwrap().batch, 4);
            assert!(prepare(Model { quantized: true, ..Model::default() }).built);
            let files = |extension: &str| files(dir.path(), extension);
            assert_eq!((files("engine").len(), files("cache").len()), (2, 1));
            // The timings of the first build went into the second.
            let timings = fs::read(&files("cache")[0]).unwrap();
            assert!(timings.starts_with(b"TIMING "));
            let second = fake.backend().build(&Model::default().onnx(), &kept, quiet).unwrap();
            let plan = String::from_utf8(second.plan).unwrap();
            assert!(plan.contains(&format!("timing {}", timings.len())), "{plan}");
            // Timings of another device are not used, and replaced; the log says so.
            fs::write(&files("cache")[0], "of another").unwrap();
            let other = fake.backend().build(&Model::default().onnx(), &kept, quiet).unwrap();
            assert!(String::from_utf8(other.plan).unwrap().contains("timing 0"));
            // A plan that does not open is set aside and built again.
            for path in files("engine") {
                fs::write(path, "damaged").unwrap();
            }
            let rebuilt = prepare(Model::default());
            let (path, why) = rebuilt.set_aside.unwrap();
            assert!(rebuilt.built && path.is_file() && why.contains("does not open this plan"), "{why}");
        }
    }

    fn the_log_is_heard() {
        for fake in fakes() {
            let heard = Arc::new(Mutex::new(Vec::new()));
            let to = heard.clone();
            fake.backend()
                .on_log(Box::new(move |severity, text| to.lock().unwrap().push((severity, text.to_owned()))))
                .unwrap();
            build(&fake.backend(), Model::default(), &options()).unwrap();
            fake.backend().on_log(Box::new(|_, _| {})).unwrap();
            assert!(heard.lock().unwrap().contains(&(Severity::Info, "building".to_owned())));
            assert_eq!(Arc::strong_count(&heard), 1);
        }
    }

    fn probes_tell_the_version_or_all_that_is_missing() {
        for fake in fakes() {
            let capabilities = fake.backend().probe().unwrap();
            assert_eq!(capabilities.version, format!("TensorRT {}", fake.version));
            assert_eq!(capabilities.library, Some(fake.shim.canonicalize().unwrap()));
            assert_eq!(capabilities.devices, ["Host (sm_00)"]);
        }
        let nothing = TensorRt::new().with_shim("/no/such/shim.so").probe().unwrap_err().to_string();
        assert!(nothing.contains("oxidet tensorrt build-shim"), "{nothing}");
    }

    fn a_library_of_another_version_is_refused() {
        let fake = fakes().last().unwrap();
        let number = if fake.version.major >= 10 { 8_503 } else { 100_300 };
        let other = Fake::new(&fake.headers, "other", Some(number));
        let error = other.backend().version().unwrap_err().to_string();
        let other = if fake.version.major >= 10 { "8.5.3" } else { "10.3.0" };
        assert!(error.contains(&format!("compiled for TensorRT {}, and runs with {other}", fake.version)), "{error}");
        // As without TensorRT's libraries: the loader names what is missing.
        let alone = tempfile::tempdir().unwrap();
        let gone = Fake::new(&fake.headers, "gone", None);
        let shim = alone.path().join("shim.so");
        fs::rename(&gone.shim, &shim).unwrap();
        for entry in fs::read_dir(&gone.folder).unwrap() {
            let path = entry.unwrap().path();
            if path.file_name().unwrap().to_string_lossy().contains("libnvinfer.so") || path.ends_with("done") {
                fs::remove_file(path).unwrap();
            }
        }
        let error = TensorRt::new().with_shim(&shim).version().unwrap_err().to_string();
        assert!(error.contains("libnvinfer is missing") && error.contains("LD_LIBRARY_PATH"), "{error}");
    }

    fn everything_of_tensorrt_is_freed() {
        let (oldest, newest) = (fakes().first().unwrap(), fakes().last().unwrap());
        for fake in [oldest, newest] {
            // Of its own: other tests hold objects of theirs.
            let fake = Fake::new(&fake.headers, "freed", None);
            let plan = build(&fake.backend(), Model::default(), &options()).unwrap();
            let engine = fake.backend().load(plan.as_bytes(), &FACTS, &options()).unwrap();
            run(engine.as_ref(), 2).unwrap();
            let session = engine.session().unwrap();
            // A session keeps what it needs.
            drop(engine);
            assert!(fake.live_objects() > 0);
            drop(session);
            for orders in ["fail parse 0 x", "fail build x"] {
                build(&fake.backend(), Model { orders, ..Model::default() }, &options()).unwrap_err();
            }
            fake.backend().load(b"x", &FACTS, &options()).err().unwrap();
            let _ = fake.backend().build(&Model::default().onnx(), &options(), &mut |_| ControlFlow::Break(()));
            assert_eq!(fake.live_objects(), 0, "{}", fake.version);
        }
    }
}
