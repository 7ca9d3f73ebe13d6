//! `oxidet encrypt` and `oxidet decrypt`

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use clap::Args;
use oxidet_proto::container::{
    ContainerError, HEADER_LEN, KdfParams, Kind, Opener, Passphrase, RANDOM_LEN, Sealer, Sniffed, sniff,
};
use oxidet_proto::onnx;
use zeroize::Zeroizing;

use crate::console;
use crate::exit::Failure;
use crate::file_plan::FilePlan;
use crate::files;
use crate::key::KeyArgs;
use crate::model::is_checkpoint;
use crate::stop;

/// Encrypt a model or a checkpoint
///
/// An ONNX model becomes an .etlt and a plain checkpoint a .tlt, which oxidet's other commands open with the same key; TensorRT,
/// ONNX Runtime and DeepStream cannot. The content decides which of the two a file is. docs/formats/etlt.md tells what this protects.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    oxidet encrypt model.onnx -k KEY                                   makes model.etlt\n  \
    oxidet encrypt model.onnx -o shipped/model.etlt --key-file key.txt\n  \
    OXIDET_KEY=... oxidet encrypt plain.tlt -o model.tlt")]
pub struct EncryptArgs {
    #[command(flatten)]
    files: Files,
}

/// Decrypt a model or a checkpoint
///
/// The reverse of encrypt: an .etlt becomes the ONNX model that it was, a .tlt a plain checkpoint, which is a safetensors file.
/// Nothing is written unless every byte is authentic.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    oxidet decrypt model.etlt -k KEY               makes model.onnx\n  \
    oxidet decrypt model.tlt -k KEY                makes model.safetensors\n  \
    oxidet decrypt model.tlt -o plain.tlt --key-file key.txt")]
pub struct DecryptArgs {
    #[command(flatten)]
    files: Files,
}

#[derive(Args, Debug)]
struct Files {
    /// The file to read
    #[arg(value_name = "FILE")]
    input: PathBuf,
    /// The file to write, if not FILE with another ending
    #[arg(short = 'o', long = "output_file", value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    key: KeyArgs,
    /// Replace an existing file
    #[arg(long)]
    force: bool,
}

pub fn encrypt(args: &EncryptArgs) -> Result<(), Failure> {
    let files = &args.files;
    let passphrase = files.passphrase()?;
    let kind = kind(&files.input)?;
    let ending = match kind {
        Kind::Checkpoint => "tlt",
        Kind::Onnx => "etlt",
    };
    let output = files.output(ending, "encrypted")?;
    let (input, len) = files::open(&files.input)?;
    let mut random = [0; RANDOM_LEN];
    getrandom::fill(&mut random)
        .map_err(|error| Failure::environment(format!("no random numbers: {error}")))?;
    let mut sealer = Sealer::new(kind, len, &passphrase, &random, KdfParams::default())
        .map_err(|error| Failure::environment(error.to_string()))?;
    let staged = files::stage_with(&output, |file| {
        let mut pieces = Pieces::new(input, files, file, &output)?;
        pieces.write(sealer.header())?;
        while let Some(len) = sealer.next_len() {
            pieces.read(len)?;
            sealer.seal(&mut pieces.chunk).map_err(|error| files.failed(error))?;
            pieces.write_chunk()?;
        }
        pieces.end()
    })?;
    staged.commit()?;
    console::print(&format!("{}: {kind}", output.display()));
    Ok(())
}

pub fn decrypt(args: &DecryptArgs) -> Result<(), Failure> {
    let files = &args.files;
    let passphrase = files.passphrase()?;
    let (mut input, len) = files::open(&files.input)?;
    let mut head = Vec::new();
    Read::take(&mut input, HEADER_LEN as u64)
        .read_to_end(&mut head)
        .map_err(|error| Failure::io(&files.input, &error))?;
    let ending = match sniff(&head) {
        Sniffed::Oxidet { kind: Some(Kind::Onnx), .. } => "onnx",
        _ => "safetensors",
    };
    let output = files.output(ending, "decrypted")?;
    let mut opener = Opener::new(&head, len, &passphrase).map_err(|error| files.failed(error))?;
    let staged = files::stage_with(&output, |file| {
        let mut pieces = Pieces::new(input, files, file, &output)?;
        while let Some(len) = opener.next_len() {
            pieces.read(len)?;
            opener.open(&mut pieces.chunk).map_err(|error| files.failed(error))?;
            pieces.write_chunk()?;
        }
        pieces.end()
    })?;
    staged.commit()?;
    let kind = match opener.kind() {
        Kind::Checkpoint => "a plain checkpoint",
        Kind::Onnx => "an ONNX model",
    };
    console::print(&format!("{}: {kind}", output.display()));
    Ok(())
}

/// What a plain file is.
fn kind(path: &Path) -> Result<Kind, Failure> {
    let refused = |why: &str| Failure::data(format!("{}: {why}", path.display()));
    let head = files::read_head(path, HEADER_LEN as u64)?;
    match sniff(&head) {
        Sniffed::Oxidet { .. } => return Err(refused("encrypted already")),
        Sniffed::NvidiaEtlt => return Err(refused(&ContainerError::NvidiaEtlt.to_string())),
        Sniffed::Hdf5 => {
            return Err(refused("a Keras HDF5 file; oxidet import makes a checkpoint of it"));
        }
        Sniffed::Other => {}
    }
    let (file, len) = files::open(path)?;
    // The length of the JSON in front, which ends within the file.
    let json = head.first_chunk().map_or(u64::MAX, |json| u64::from_le_bytes(*json));
    if is_checkpoint(path)? && json < len {
        return Ok(Kind::Checkpoint);
    }
    if onnx::is_model(file).map_err(|error| Failure::io(path, &error))? {
        return Ok(Kind::Onnx);
    }
    Err(refused(
        "neither a plain checkpoint nor an ONNX model, or a damaged one; only these can be encrypted",
    ))
}

impl Files {
    fn passphrase(&self) -> Result<Passphrase, Failure> {
        self.key.passphrase()?.ok_or_else(|| Failure::usage("give the key with -k, --key-file or OXIDET_KEY"))
    }

    /// The file to write: beside the input with this ending, and with `word` before it where that would be the input.
    fn output(&self, ending: &str, word: &str) -> Result<PathBuf, Failure> {
        let beside = || {
            let other = self.input.with_extension(ending);
            if other == self.input { self.input.with_extension(format!("{word}.{ending}")) } else { other }
        };
        let output = self.output.clone().unwrap_or_else(beside);
        FilePlan::new(self.force, [&self.input]).writes(&output)?;
        Ok(output)
    }

    fn failed(&self, error: ContainerError) -> Failure {
        Failure::data(format!("{}: {error}", self.input.display()))
    }
}

/// A file on its way into another, a chunk at a time.
struct Pieces<'a> {
    input: File,
    from: &'a Path,
    output: &'a mut File,
    to: &'a Path,
    chunk: Zeroizing<Vec<u8>>,
    stop: &'static AtomicBool,
}

impl<'a> Pieces<'a> {
    /// Chunks with their tag, of any container: the buffer never moves, and leaves no plaintext behind.
    const ROOM: usize = (1 << 20) + 16;

    fn new(input: File, files: &'a Files, output: &'a mut File, to: &'a Path) -> Result<Self, Failure> {
        let chunk = Zeroizing::new(Vec::with_capacity(Self::ROOM));
        Ok(Self { input, from: &files.input, output, to, chunk, stop: stop::on_signal()? })
    }

    fn read(&mut self, len: usize) -> Result<(), Failure> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(Failure::interrupted("stopped; nothing was written"));
        }
        self.chunk.resize(len, 0);
        self.input.read_exact(&mut self.chunk).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => self.changed(),
            _ => Failure::io(self.from, &error),
        })
    }

    fn write_chunk(&mut self) -> Result<(), Failure> {
        self.output.write_all(&self.chunk).map_err(|error| Failure::output(self.to, &error))
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.output.write_all(bytes).map_err(|error| Failure::output(self.to, &error))
    }

    /// Nothing may follow.
    fn end(&mut self) -> Result<(), Failure> {
        let more = self.input.read(&mut [0]).map_err(|error| Failure::io(self.from, &error))?;
        if more == 0 { Ok(()) } else { Err(self.changed()) }
    }

    fn changed(&self) -> Failure {
        Failure::data(format!("{}: its length changed while it was read", self.from.display()))
    }
}
