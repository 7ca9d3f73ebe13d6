//! `oxidet verify`

use std::path::{Path, PathBuf};

use clap::Args;
use oxidet_proto::container::{self, ContainerError, Kind, Passphrase, Sniffed};
use oxidet_proto::manifest::{LABELS_FILE, NVINFER_FILE};
use oxidet_proto::manifest::{MANIFEST_FILE, Manifest, sha256_hex, sha256_hex_of};
use oxidet_proto::signature::{PublicKey, SIGNATURE_FILE};
use serde_json::{Map, Value, json};

use crate::console;
use crate::exit::Failure;
use crate::files;
use crate::format::{FormatArgs, print_json};
use crate::key::KeyArgs;

/// Check that an exported model and the files beside it are those of its manifest
///
/// A line for each file: ok, changed, missing, or, of a file that programs look for beside a model, not in the manifest. The exit code is 1 when one is not ok, or when the signature is not that of the key.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    oxidet verify exported\n  \
    oxidet verify exported/manifest.json --public-key key.pub      who made it, too\n  \
    oxidet verify exported --key-file key.txt                      an encrypted model")]
pub struct VerifyArgs {
    /// Folder of the model, or the manifest in it
    #[arg(value_name = "FOLDER")]
    path: PathBuf,
    /// Ed25519 public key that the manifest must be signed with (openssl pkey -pubout)
    #[arg(long = "public-key", value_name = "FILE")]
    public_key: Option<PathBuf>,
    #[command(flatten)]
    format: FormatArgs,
    #[command(flatten)]
    key: KeyArgs,
}

pub fn run(args: &VerifyArgs) -> Result<(), Failure> {
    let path = if args.path.is_dir() { args.path.join(MANIFEST_FILE) } else { args.path.clone() };
    let text = String::from_utf8(files::read(&path)?)
        .map_err(|_| Failure::data(format!("{}: not a manifest: it is not text", path.display())))?;
    let signed = check_signature(args, &path, &text)?;
    let manifest =
        Manifest::parse(&path.to_string_lossy(), &text).map_err(|error| Failure::data(error.to_string()))?;
    let folder = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));

    let model = folder.join(&manifest.model.file);
    let digest =
        if model.exists() { Some(onnx_sha256(&model, args.key.passphrase()?.as_ref())?) } else { None };
    let mut states = vec![(&manifest.model.file, State::of(digest, &manifest.model.onnx_sha256))];
    for (name, expected) in &manifest.files {
        let file = folder.join(name);
        let digest = if file.exists() {
            let (reader, _) = files::open(&file)?;
            Some(sha256_hex_of(reader).map_err(|error| Failure::io(&file, &error))?)
        } else {
            None
        };
        states.push((name, State::of(digest, expected)));
    }
    // Programs look for these beside the model, whether the manifest knows of them or not.
    let looked_for = [LABELS_FILE, NVINFER_FILE].map(str::to_owned);
    let planted =
        looked_for.iter().filter(|name| !manifest.files.contains_key(*name) && folder.join(name).exists());
    states.extend(planted.map(|name| (name, State::Unlisted)));
    if args.format.is_json() {
        let files = states.iter().map(|(name, state)| ((*name).clone(), state.name().into()));
        let files: Map<String, Value> = files.collect();
        print_json(&json!({ "files": files, "signed_by": signed }))?;
    } else {
        for (name, state) in &states {
            console::print(&format!("{name}: {}", state.name()));
        }
        if let Some(signer) = signed {
            console::print(&format!("{SIGNATURE_FILE}: ok, by {}", signer.display()));
        }
    }
    let wrong: Vec<&str> =
        states.iter().filter(|(_, state)| *state != State::Ok).map(|(name, _)| name.as_str()).collect();
    if wrong.is_empty() {
        return Ok(());
    }
    Err(Failure::no(format!("{}: not as its manifest says: {}", folder.display(), wrong.join(", "))))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Ok,
    Changed,
    Missing,
    Unlisted,
}

impl State {
    fn of(digest: Option<String>, expected: &str) -> Self {
        match digest {
            Some(digest) if digest == expected => Self::Ok,
            Some(_) => Self::Changed,
            None => Self::Missing,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Changed => "changed",
            Self::Missing => "missing",
            Self::Unlisted => "not in the manifest",
        }
    }
}

/// Checks the signature, if there is a key to check it with; returns the key's file.
fn check_signature<'a>(
    args: &'a VerifyArgs,
    manifest: &Path,
    text: &str,
) -> Result<Option<&'a Path>, Failure> {
    let path = manifest.with_file_name(SIGNATURE_FILE);
    let Some(key_file) = &args.public_key else {
        if path.exists() {
            console::warn(&format!(
                "{}: not checked, so anybody may have made these files; --public-key FILE checks it",
                path.display()
            ));
        }
        return Ok(None);
    };
    let key = PublicKey::from_pem(&files::read_text(key_file)?)
        .map_err(|error| Failure::usage(format!("{}: {error}", key_file.display())))?;
    if !path.exists() {
        return Err(Failure::no(format!("{}: missing; the manifest is not signed", path.display())));
    }
    if !key.verifies(text.as_bytes(), &files::read(&path)?) {
        return Err(Failure::no(format!(
            "{}: not a signature of {} by the key in {}: one of the three is another",
            path.display(),
            manifest.display(),
            key_file.display()
        )));
    }
    Ok(Some(key_file))
}

/// Digest of a model, in the clear. One that does not open with the key has none.
fn onnx_sha256(path: &Path, passphrase: Option<&Passphrase>) -> Result<String, Failure> {
    let bytes = files::read(path)?;
    let Sniffed::Oxidet { .. } = container::sniff(&bytes) else { return Ok(sha256_hex(&bytes)) };
    let Some(passphrase) = passphrase else {
        return Err(Failure::usage(format!(
            "{}: encrypted; its key is needed to check it: -k, --key-file or OXIDET_KEY",
            path.display()
        )));
    };
    match container::open(Kind::Onnx, &bytes, passphrase) {
        Ok(onnx) => Ok(sha256_hex(&onnx)),
        Err(error @ ContainerError::WrongKey) => Err(Failure::data(format!("{}: {error}", path.display()))),
        Err(error) => {
            console::warn(&format!("{}: {error}", path.display()));
            Ok(String::new())
        }
    }
}
