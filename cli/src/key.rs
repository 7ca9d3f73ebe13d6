//! The passphrase of encrypted checkpoints and models. It is never printed, logged or written.

use std::env;
use std::path::PathBuf;

use clap::Args;
use oxidet_proto::container::Passphrase;
use zeroize::Zeroizing;

use crate::exit::Failure;
use crate::files;

/// Where the passphrase comes from: the command line, a file, or the environment.
#[derive(Args)]
pub struct KeyArgs {
    /// Passphrase of encrypted files. Other users of this computer can see it while the command runs; prefer --key-file or
    /// OXIDET_KEY
    #[arg(short = 'k', long = "key", value_name = "KEY", conflicts_with = "key_file")]
    key: Option<String>,
    /// File that holds the passphrase
    #[arg(long = "key-file", value_name = "FILE")]
    key_file: Option<PathBuf>,
}

impl std::fmt::Debug for KeyArgs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeyArgs(..)")
    }
}

impl KeyArgs {
    /// The passphrase; `None` when none is given. An empty `-k` is none, as in the original.
    pub fn passphrase(&self) -> Result<Option<Passphrase>, Failure> {
        let text = if let Some(key) = &self.key {
            Zeroizing::new(key.clone())
        } else if let Some(path) = &self.key_file {
            let text = Zeroizing::new(files::read_text(path)?);
            let trimmed =
                text.strip_suffix('\n').map_or(text.as_str(), |line| line.strip_suffix('\r').unwrap_or(line));
            if trimmed.is_empty() {
                return Err(Failure::usage(format!("{}: the key file is empty", path.display())));
            }
            Zeroizing::new(trimmed.to_owned())
        } else {
            Zeroizing::new(env::var("OXIDET_KEY").unwrap_or_default())
        };
        if text.is_empty() {
            return Ok(None);
        }
        Passphrase::new(text.to_string()).map(Some).map_err(|error| Failure::usage(error.to_string()))
    }
}
