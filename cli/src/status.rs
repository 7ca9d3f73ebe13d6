//! `status.json`: one JSON object per line, in the original's shape, for programs that watch a run.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::Write;
use std::path::Path;

use jiff::Zoned;
use serde_json::{Map, Value, json};

use crate::exit::Failure;
use crate::files;

/// The log of one command. Without a results folder there is none.
#[derive(Debug)]
pub struct StatusLog {
    file: Option<File>,
    /// Of the folder, as long as the command runs; it ends with the process, however that ends.
    _lock: Option<File>,
}

/// What a line reports.
#[derive(Clone, Copy, Debug)]
pub enum Status {
    Started,
    Running,
    Success,
    Failure,
}

impl StatusLog {
    /// Appends to `<results_dir>/status.json`. One command at a time writes into a folder.
    pub fn open(results_dir: Option<&Path>) -> Result<Self, Failure> {
        let Some(dir) = results_dir else { return Ok(Self { file: None, _lock: None }) };
        files::create_dir(dir)?;
        let lock = lock(dir)?;
        if lock.is_some() {
            oxidet_files::remove_leftovers(dir).map_err(|error| Failure::output(dir, &error))?;
        }
        let path = dir.join("status.json");
        let file = OpenOptions::new().create(true).append(true).open(&path);
        Ok(Self { file: Some(file.map_err(|error| Failure::output(&path, &error))?), _lock: lock })
    }

    /// Writes a line. `data` comes first; members such as `graphical` and `kpi` belong into `tail`.
    pub fn line(&mut self, status: Status, message: &str, data: Value, tail: Value) {
        let Some(file) = &mut self.file else { return };
        let now = Zoned::now();
        let status = match status {
            Status::Started => "STARTED",
            Status::Running => "RUNNING",
            Status::Success => "SUCCESS",
            Status::Failure => "FAILURE",
        };
        let frame = json!({
            "date": format!("{}/{}/{}", now.month(), now.day(), now.year()),
            "time": format!("{}:{}:{}", now.hour(), now.minute(), now.second()),
            "status": status,
            "verbosity": if status == "FAILURE" { "ERROR" } else { "INFO" },
            "message": message,
        });
        let mut line = Map::new();
        for part in [data, frame, tail] {
            if let Value::Object(members) = part {
                line.extend(members);
            }
        }
        // A full disk must not end a training that can still save elsewhere.
        let _ = writeln!(file, "{}", Value::Object(line));
    }

    /// Forgets former runs, down to the first line of this one.
    pub fn start_afresh(&mut self, task: &str) -> Result<(), Failure> {
        let Some(file) = &self.file else { return Ok(()) };
        file.set_len(0).map_err(|error| Failure::environment(format!("status.json: {error}")))?;
        self.started(task);
        Ok(())
    }

    fn started(&mut self, task: &str) {
        self.line(Status::Started, &format!("Starting {task}."), Value::Null, Value::Null);
    }

    /// Runs a command between its first and last line.
    pub fn around<T>(
        results_dir: Option<&Path>,
        task: &str,
        run: impl FnOnce(&mut Self) -> Result<(T, Value), Failure>,
    ) -> Result<T, Failure> {
        let mut log = Self::open(results_dir)?;
        log.started(task);
        match run(&mut log) {
            Ok((result, tail)) => {
                log.line(Status::Success, &format!("{task} finished successfully."), Value::Null, tail);
                Ok(result)
            }
            Err(failure) => {
                let what =
                    if failure.message().is_empty() { "the spec has errors" } else { failure.message() };
                log.line(Status::Failure, what, Value::Null, Value::Null);
                Err(failure)
            }
        }
    }
}

/// Keeps other commands out of a results folder. None where the system cannot lock a folder.
fn lock(dir: &Path) -> Result<Option<File>, Failure> {
    let Ok(folder) = File::open(dir) else { return Ok(None) };
    match folder.try_lock() {
        Ok(()) => Ok(Some(folder)),
        Err(TryLockError::WouldBlock) => Err(Failure::environment(format!(
            "{}: another oxidet is writing into this folder; wait for it to end, or name another --results_dir",
            dir.display()
        ))),
        Err(TryLockError::Error(_)) => Ok(None),
    }
}
