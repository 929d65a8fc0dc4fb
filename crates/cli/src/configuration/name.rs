//! The names of authorization servers, credentials and callers.

/// Checks a name: 1 to 128 of `A-Z a-z 0-9 . _ -`, and not `.` or `..`, which are no path segments
/// of their own. Case matters.
pub fn check(name: &str) -> Result<&str, String> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if name.is_empty() || name.len() > 128 || !name.bytes().all(allowed) {
        return Err("a name has 1 to 128 letters, digits, dots, underscores or hyphens".to_owned());
    }
    if name == "." || name == ".." {
        return Err(format!("{name:?} cannot be part of a URL's path; choose another name"));
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grammar() {
        for name in ["a", "Genesys-APAC", "a.b_c-1", "...", &"x".repeat(128)] {
            assert!(check(name).is_ok(), "{name}");
        }
        for name in ["", ".", "..", "a/b", "a b", "é", "a\n", "a%2f", &"x".repeat(129)] {
            assert!(check(name).is_err(), "{name:?}");
        }
    }
}
