//! Reads everything the checks printed and kept, for secrets in any spelling.
//!
//! Every simulated token begins with the same mark, and the client secrets of the tests are known:
//! no log, error, metric or file may hold one of them, as it is or encoded.

use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// How simulated tokens begin, the secret of the lab's client, and how callers' keys begin.
const SECRETS: [&str; 3] = ["simulated-secret-", "lab-client-secret", "key-of-the-"];

/// Searches a folder and everything in it.
pub(crate) fn check(folder: &Path) -> Result<(), String> {
    let needles: Vec<(String, Vec<u8>)> =
        SECRETS.iter().flat_map(|secret| spellings(secret)).collect();
    let mut files = Vec::new();
    collect(folder, &mut files);
    let mut found = Vec::new();
    for file in &files {
        let content = fs::read(file).map_err(|error| format!("{}: {error}", file.display()))?;
        for (spelling, needle) in &needles {
            if content.windows(needle.len()).any(|window| window == needle) {
                found.push(format!("  {}: {spelling}", file.display()));
            }
        }
    }
    println!("\n── leaks\n{} files read, {} secrets found", files.len(), found.len());
    if found.is_empty() {
        Ok(())
    } else {
        Err(format!("secrets where none may be:\n{}", found.join("\n")))
    }
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => collect(&entry.path(), files),
            Ok(kind) if kind.is_file() => files.push(entry.path()),
            Ok(_) | Err(_) => {}
        }
    }
}

/// A secret raw, reversed, in hexadecimal, and in base64 at each offset.
fn spellings(secret: &str) -> Vec<(String, Vec<u8>)> {
    let bytes = secret.as_bytes();
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut all = vec![
        (format!("{secret} as it is"), bytes.to_vec()),
        (format!("{secret} reversed"), bytes.iter().rev().copied().collect()),
        (format!("{secret} in hexadecimal"), hex.to_uppercase().into_bytes()),
        (format!("{secret} in hexadecimal"), hex.into_bytes()),
    ];
    for offset in 0..3 {
        // What stands before shifts the bits: cut what depends on neighbours.
        let shifted = [vec![0; offset], bytes.to_vec()].concat();
        let whole = &shifted[..shifted.len() - shifted.len() % 3];
        let skip = offset.div_ceil(3) * 4;
        for encoded in [STANDARD_NO_PAD.encode(whole), URL_SAFE_NO_PAD.encode(whole)] {
            let inner = encoded.as_bytes()[skip..].to_vec();
            all.push((format!("{secret} in base64"), inner));
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    #[test]
    fn every_spelling_is_found_wherever_it_stands() {
        let secret = "simulated-secret-";
        for before in ["", "a", "ab", "abc:"] {
            let text = format!("{before}{secret}xyz");
            let reversed: String = text.chars().rev().collect();
            let hex: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
            for spelled in [text.clone(), reversed, hex, STANDARD.encode(&text)] {
                let found = spellings(secret).iter().any(|(_, needle)| {
                    spelled.as_bytes().windows(needle.len()).any(|window| window == needle)
                });
                assert!(found, "{spelled}");
            }
        }
    }
}
