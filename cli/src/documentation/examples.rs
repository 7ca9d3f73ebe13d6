//! The commands in the documentation and in help texts: all of them parse.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use clap::Command;

use crate::args;

#[test]
fn commands_in_the_documentation_parse() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut pages = vec![root.join("README.md")];
    pages.extend(markdown(&root.join("docs")));
    let mut seen = 0;
    for page in pages {
        let text = fs::read_to_string(&page).unwrap();
        for line in shell_lines(&text) {
            seen += check(&line, &page.display().to_string());
        }
    }
    assert!(seen > 60, "only {seen} commands found");
}

#[test]
fn commands_in_help_texts_parse() {
    let mut command = args::command("oxidet");
    command.build();
    let mut seen = 0;
    let mut todo: Vec<&Command> = vec![&command];
    while let Some(command) = todo.pop() {
        todo.extend(command.get_subcommands());
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        for line in help.lines() {
            // What stands behind two spaces is an explanation.
            let line = line.trim().split("  ").next().unwrap_or_default();
            seen += check(line, command.get_name());
        }
    }
    assert!(seen > 50, "only {seen} commands found");
}

fn markdown(folder: &Path) -> Vec<PathBuf> {
    let mut pages = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            pages.extend(markdown(&path));
        } else if path.extension().is_some_and(|extension| extension == "md") {
            pages.push(path);
        }
    }
    pages.sort();
    pages
}

/// The lines of all shell blocks of a page, each with those that continue it.
fn shell_lines(text: &str) -> Vec<String> {
    let (mut lines, mut inside, mut continued) = (Vec::<String>::new(), false, false);
    for line in text.lines() {
        if line.starts_with("```") {
            inside = !inside && (line == "```sh" || line.starts_with("```sh "));
        } else if inside {
            let (part, goes_on) = line.strip_suffix('\\').map_or((line, false), |part| (part, true));
            match lines.last_mut().filter(|_| continued) {
                Some(last) => last.push_str(part),
                None => lines.push(part.to_owned()),
            }
            continued = goes_on;
        }
    }
    lines
}

/// Parses every command of this program in a line of shell; returns how many there are.
fn check(line: &str, place: &str) -> usize {
    let mut seen = 0;
    for command in commands(line) {
        let start =
            command.iter().position(|word| ["oxidet", "./oxidet", "yolo_v4"].contains(&word.as_str()));
        // Only behind words that set the environment or run another program.
        let Some(start) = start.filter(|&start| {
            command[..start]
                .iter()
                .all(|word| word.contains('=') || ["nice", "time", "exec", "sudo"].contains(&word.as_str()))
        }) else {
            continue;
        };
        let words = command[start..].iter().map(OsString::from);
        if let Err(error) = args::command("oxidet").try_get_matches_from(args::expand(words)) {
            assert!(!error.use_stderr(), "{place}: {line}\n{error}");
        }
        seen += 1;
    }
    seen
}

/// The commands of a line of shell, as words. Redirections end a command, as `|`, `&&` and `;` do.
fn commands(line: &str) -> Vec<Vec<String>> {
    let (mut commands, mut words, mut word) = (Vec::new(), Vec::new(), None::<String>);
    let mut quote = None;
    for c in line.chars() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some(_), c) => word.get_or_insert_default().push(c),
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, '#') if word.is_none() => break,
            (None, ' ') => words.extend(word.take()),
            (None, '|' | '&' | ';' | '>' | '<') => {
                words.extend(word.take());
                commands.push(std::mem::take(&mut words));
            }
            (None, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    commands.push(words);
    commands
}
