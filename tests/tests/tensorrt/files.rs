//! Engines as files with their records, and GPUs through CUDA's driver.

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

use oxidet_proto::manifest::Precision;
use oxidet_runtime::tensorrt::{Cuda, Gpus, TensorRt, TrtExec};
use oxidet_runtime::{Artifact, Builder, DetectorFacts, Engine, EngineOptions, EngineRecord};
use oxidet_vision::{Picture, RawDetections, image};

use crate::support::model::Model;
use crate::support::{build_folder, cuda, fakes};
use crate::{images, options, run};

fake_tests! {
    fn a_built_engine_runs_with_its_record_and_nothing_else() {
        let model = Model { described: true, ..Model::default() };
        let onnx = model.onnx();
        let facts = DetectorFacts::of(&Artifact::load(&onnx, None).unwrap()).unwrap();
        assert_eq!(facts.classes, ["cat", "dog"]);
        for fake in fakes() {
            let builder = Builder::TensorRt(fake.backend());
            let said = builder.probe(&options()).unwrap();
            assert!(said.contains(&fake.version.to_string()) && said.contains("Host (sm_00)"), "{said}");
            let built = builder.build(&onnx, &options(), &mut |_| ControlFlow::Continue(())).unwrap();
            let text = built.record(&onnx, facts.clone()).to_json();
            let record = EngineRecord::parse("m.engine.json", &text).unwrap();
            assert_eq!(record.built.tensorrt, Some(fake.version.to_string()));
            assert_eq!(record.built.gpu.as_deref(), Some("Host (sm_00)"));
            assert_eq!((record.precision, record.profile), (Precision::Fp32, options().profile));
            let load = |engine: &[u8], record: &EngineRecord| {
                oxidet_runtime::Model::load_engine(engine, record, &fake.backend(), &options())
            };
            let mut opened = load(&built.engine, &record).unwrap();
            assert_eq!((&opened.classes, &opened.preprocess, opened.nms), (&facts.classes, &facts.preprocess, facts.nms));
            // The fake gives back what goes in, which is no detector; that it runs is what counts.
            let picture = Picture::from(image::Image::filled(12, 8, &[9u8, 99, 200]));
            opened.detect(&picture, 0.5).unwrap();

            let error = load(b"another engine", &record).err().unwrap().to_string();
            assert!(error.contains("that of another one"), "{error}");
            let mut other = record.clone();
            other.built.tensorrt = Some("99.1.2".into());
            let error = load(&built.engine, &other).err().unwrap().to_string();
            assert!(error.contains("TensorRT 99.1.2") && error.contains(&fake.version.to_string()), "{error}");
            let mut other = record.clone();
            other.built.gpu = Some("Orin (sm_87)".into());
            let error = load(&built.engine, &other).err().unwrap().to_string();
            assert!(error.contains("Orin (sm_87)") && error.contains("Host (sm_00)"), "{error}");
            // A record of a detector of other images.
            let mut other = record.clone();
            other.preprocess.width = 8;
            assert!(load(&built.engine, &other).is_err());
        }
    }

    fn cudas_driver_has_memory_and_queues() {
        cuda::open();
        assert_eq!(Cuda.names(), Ok(vec!["Fake (sm_87)".to_owned()]));
        let error = Cuda.open(1).err().unwrap();
        assert!(error.contains("no GPU 1"), "{error}");
        let gpu = Cuda.open(0).unwrap();
        gpu.bind().unwrap();
        let queue = gpu.queue().unwrap();
        assert!(!queue.handle().is_null());
        let error = queue.buffer(1 << 40).err().unwrap();
        assert!(error.contains("out of memory"), "{error}");
        let mut buffer = queue.buffer(8).unwrap();
        assert_eq!(buffer.host().unwrap(), [0; 8]);
        buffer.host().unwrap().copy_from_slice(b"abcdefgh");
        buffer.upload(4).unwrap();
        buffer.host().unwrap().fill(0);
        buffer.download(8).unwrap();
        queue.finish().unwrap();
        // What was not uploaded is the device's.
        assert_eq!(buffer.host().unwrap(), b"abcd\xff\xff\xff\xff");
        for fake in fakes() {
            let backend = TensorRt::new().with_shim(&fake.shim);
            let found = oxidet_runtime::Backend::probe(&backend).unwrap();
            assert_eq!(found.devices, ["Fake (sm_87)"]);
            let engine = oxidet_runtime::Backend::prepare(&backend, &Model::default().artifact(), &options()).unwrap();
            let engine = &*engine;
            // From threads that have not bound the GPU, too.
            let out = std::thread::scope(|scope| scope.spawn(|| run(engine, 3)).join().unwrap()).unwrap();
            assert_eq!(out.image_boxes(2), &images(3)[144..164]);
            for refuses in [false, true] {
                cuda::refuse_graphs(refuses);
                repeats(engine, if refuses { 0 } else { 5 });
            }
            cuda::refuse_graphs(false);
        }
    }
}

/// Batches of one size, then of another: all are computed, and those from the second on by so many graphs.
fn repeats(engine: &dyn Engine, graphs: i32) {
    let before = cuda::graph_launches();
    let mut session = engine.session().unwrap();
    for (number, batch) in [2, 2, 2, 2, 1, 1, 1, 3].into_iter().enumerate() {
        let input: Vec<f32> = images(batch).iter().map(|value| value + number as f32).collect();
        let mut out = RawDetections::default();
        session.run(&input, batch, &mut out).unwrap();
        for image in 0..batch {
            assert_eq!(out.image_boxes(image), &input[image * 72..][..20], "batch {number}");
        }
    }
    assert_eq!(cuda::graph_launches() - before, graphs);
}

/// Options whose values are paths of a folder that is made for the build.
const FILES: [&str; 3] = ["--onnx=", "--saveEngine=", "--calib="];

/// A `trtexec` that writes its arguments to the engine.
fn trtexec(folder: &Path, number: u32) -> std::path::PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let path = folder.join(format!("trtexec-{number}"));
    let script = format!(
        "#!/bin/sh\necho '&&&& RUNNING TensorRT.trtexec [TensorRT v{number}] # trtexec'\n\
         [ \"$1\" = --help ] && exit 0\n\
         for word; do case $word in --saveEngine=*) engine=${{word#--saveEngine=}} ;; --calib=*) cat \"${{word#--calib=}}\" >&2 ;; esac; done\n\
         case \"$*\" in *--plugins=*|*--staticPlugins=*) echo '[01/02/2026-00:00:00] [E] no such plugin' >&2; exit 1 ;; esac\n\
         echo '[01/02/2026-00:00:00] [I] Selected Device: Orin'\n\
         echo '[01/02/2026-00:00:00] [I] Compute Capability: 8.7'\n\
         printf '%s\\n' \"$@\" > \"$engine\"\n"
    );
    fs::write(&path, script).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

#[test]
fn trtexec_is_told_what_the_library_would_be() {
    let folder = build_folder("trtexec");
    fs::create_dir_all(&folder).unwrap();
    let arguments = |number: u32, model: Model<'_>, options: &EngineOptions| {
        let builder = Builder::TrtExec(TrtExec::find(Some(&trtexec(&folder, number))).unwrap());
        let built = builder
            .build(&model.onnx(), options, &mut |_| ControlFlow::Continue(()))
            .map_err(|error| error.to_string())?;
        assert_eq!(built.built.gpu.as_deref(), Some("Orin (sm_87)"));
        let lines = String::from_utf8(built.engine).unwrap();
        let words: Vec<String> = lines
            .lines()
            .filter(|word| !FILES.iter().any(|option| word.starts_with(option)))
            .map(str::to_owned)
            .collect();
        Ok::<_, String>(words.join(" "))
    };
    let shapes = "--minShapes=Input:1x3x4x6 --optShapes=Input:2x3x4x6 --maxShapes=Input:4x3x4x6";
    let plain = Model::default();
    assert_eq!(arguments(100_300, plain, &options()), Ok(format!("{shapes} --device=0 --skipInference")));
    let fp16 = EngineOptions { precision: Precision::Fp16, workspace: Some(1 << 30), ..options() };
    assert_eq!(
        arguments(8503, plain, &fp16),
        Ok(format!("{shapes} --fp16 --memPoolSize=workspace:1024 --device=0 --buildOnly"))
    );
    assert_eq!(
        arguments(8201, plain, &fp16),
        Ok(format!("{shapes} --fp16 --workspace=1024 --device=0 --buildOnly"))
    );
    let int8 = EngineOptions {
        precision: Precision::Int8,
        calibration_cache: Some(crate::CACHE.into()),
        float_layers: ["conv_1".to_owned()].into(),
        strict: true,
        ..options()
    };
    let told = arguments(100_300, plain, &int8).unwrap();
    assert!(
        told.contains("--int8") && !told.contains("--fp16 ")
            && told.contains(
                "--precisionConstraints=obey --layerPrecisions=conv_1/convolution:fp32,conv_1/mish:fp32,head:int8 --layerOutputTypes=conv_1/convolution:fp32,conv_1/mish:fp32 "
            ),
        "{told}"
    );
    let unknown = EngineOptions { float_layers: ["conv".to_owned()].into(), ..int8.clone() };
    assert!(arguments(100_300, plain, &unknown).unwrap_err().contains("there is no layer `conv`"));
    // A fixed batch has no profile; a Q/DQ model no calibration.
    let fixed = Model { batch: Some(2), quantized: true, ..plain };
    let fixed_options = EngineOptions { profile: oxidet_runtime::Profile::default(), ..options() };
    assert_eq!(arguments(100_300, fixed, &fixed_options), Ok("--int8 --device=0 --skipInference".into()));
    let dla =
        EngineOptions { device: oxidet_runtime::Device::Dla(1), precision: Precision::Fp16, ..fixed_options };
    assert_eq!(
        arguments(8602, Model { batch: Some(2), ..plain }, &dla),
        Ok("--fp16 --useDLACore=1 --allowGPUFallback --skipInference".into())
    );
    let half =
        arguments(110_000, Model { half: true, ..plain }, &EngineOptions { workspace: None, ..fp16.clone() });
    assert_eq!(half, Ok(format!("{shapes} --device=0 --skipInference")));
    assert!(arguments(110_000, plain, &fp16).unwrap_err().contains("TensorRT 11 has no fp16 flag"));
    let plugin = EngineOptions { plugins: vec!["x.so".into()], ..options() };
    let error = arguments(100_300, plain, &plugin).unwrap_err();
    assert!(error.contains("trtexec of TensorRT 10.3.0 failed: no such plugin"), "{error}");
    // Stopped while it works.
    let slow = trtexec(&folder, 8602);
    let script =
        fs::read_to_string(&slow).unwrap().replace("--help ] && exit 0\n", "--help ] && exit 0\nsleep 60\n");
    fs::write(&slow, script).unwrap();
    let builder = Builder::TrtExec(TrtExec::find(Some(&slow)).unwrap());
    let stopped = builder.build(&plain.onnx(), &options(), &mut |_| ControlFlow::Break(()));
    assert!(stopped.is_err_and(|error| error.to_string().contains("cancelled")));
    let missing = TrtExec::find(Some(Path::new("/no/trtexec"))).unwrap_err().to_string();
    assert!(missing.contains("/no/trtexec"), "{missing}");
}
