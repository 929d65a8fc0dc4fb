//! House rules that every review would repeat.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Lines of a source file without its tests; above it, the concept has split.
const LONGEST: usize = 600;
const LEFTOVERS: [&str; 5] =
    ["TO\u{44}O", "FIX\u{4d}E", "XX\u{58}", "todo\u{21}(", "unimplemented\u{21}("];

/// Checks every file git knows of.
pub(crate) fn check(root: &Path) -> Result<(), String> {
    println!("\n── tidy");
    let files = tracked(root)?;
    let mut problems = Vec::new();
    for file in files.iter().filter(|file| file.extension().is_some_and(|kind| kind == "rs")) {
        // A file that is tracked and deleted is about to go.
        let Ok(text) = fs::read_to_string(root.join(file)) else { continue };
        source(file, &text, &mut problems);
    }
    println!("{} files looked at", files.len());
    if problems.is_empty() { Ok(()) } else { Err(problems.join("\n")) }
}

fn source(file: &Path, text: &str, problems: &mut Vec<String>) {
    let shown = file.display();
    let tests = file
        .components()
        .any(|part| matches!(part.as_os_str().to_str(), Some("tests" | "benches" | "examples")));
    let length = text.lines().take_while(|line| !line.starts_with("#[cfg(test)]")).count();
    if !tests && length > LONGEST {
        problems.push(format!(
            "{shown}: {length} lines without tests, more than {LONGEST}; which concept has split?"
        ));
    }
    for (number, line) in (1..).zip(text.lines()) {
        if let Some(leftover) = LEFTOVERS.iter().find(|word| line.contains(*word)) {
            problems.push(format!("{shown}:{number}: {leftover} was left behind"));
        }
    }
    let is_root = matches!(file.file_name().and_then(|name| name.to_str()), Some("lib.rs"));
    if is_root && !text.starts_with("//!") {
        problems.push(format!("{shown}: a crate begins with its story (`//!`)"));
    }
}

fn tracked(root: &Path) -> Result<Vec<PathBuf>, String> {
    let output = Command::new("git")
        .args(["ls-files", "-z"])
        .current_dir(root)
        .output()
        .map_err(|error| format!("git: {error}"))?;
    let listed = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(listed.split('\0').filter(|name| !name.is_empty()).map(PathBuf::from).collect())
}
