//! The little JSON that is written and read here; not worth a dependency.

use std::fmt::Write as _;

/// A JSON string.
pub(crate) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c < ' ' => {
                let _ = write!(out, "\\u{:04x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// The value of a member of a JSON object, if it is a string. Members of inner objects do not
/// count, and text that is no JSON has no members.
pub(crate) fn string_member(object: &str, key: &str) -> Option<String> {
    let mut rest = object.trim_start().strip_prefix('{')?;
    let mut depth = 1;
    // Whether a key may come next, and whether the last string was the wanted one.
    let (mut at_key, mut found) = (true, false);
    while depth > 0 {
        rest = rest.trim_start();
        if rest.starts_with('"') {
            let (text, after) = string(rest)?;
            let is_key = depth == 1 && at_key && after.trim_start().starts_with(':');
            if found && !is_key {
                return Some(text);
            }
            found = is_key && text == key;
            at_key = false;
            rest = after;
            continue;
        }
        let c = rest.chars().next()?;
        match c {
            '{' | '[' => depth += 1,
            '}' | ']' => depth -= 1,
            ',' if depth == 1 => at_key = true,
            _ => {}
        }
        found &= c == ':';
        rest = &rest[c.len_utf8()..];
    }
    None
}

/// Takes a JSON string off the front of the text.
fn string(text: &str) -> Option<(String, &str)> {
    let mut out = String::new();
    let mut chars = text.strip_prefix('"')?.chars();
    loop {
        match chars.next()? {
            '"' => return Some((out, chars.as_str())),
            '\\' => match chars.next()? {
                'n' => out.push('\n'),
                't' => out.push('\t'),
                'r' => out.push('\r'),
                'b' => out.push('\u{8}'),
                'f' => out.push('\u{c}'),
                'u' => {
                    let digits = chars.as_str().get(..4)?;
                    let code = u32::from_str_radix(digits, 16).ok()?;
                    out.push(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
                    chars = chars.as_str()[4..].chars();
                }
                c => out.push(c),
            },
            c => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_and_back() {
        let nasty = "a \"b\" \\ \n é \u{1}";
        let text = quoted(nasty);
        assert_eq!(text, r#""a \"b\" \\ \u000a é \u0001""#);
        assert_eq!(string(&text), Some((nasty.to_owned(), "")));
    }

    #[test]
    fn members() {
        let get = |text: &str| string_member(text, "prefix");
        let status = Some("status".to_owned());
        assert_eq!(get(r#"{"prefix":"status"}"#), status);
        assert_eq!(
            get(r#" { "a" : [{"prefix":"no"}], "prefix" : "status" } "#),
            status
        );
        assert_eq!(get(r#"{"x":"prefix","prefix":"status"}"#), status);
        assert_eq!(get(r#"{"x":["prefix","no"],"prefix":"status"}"#), status);
        assert_eq!(get(r#"{"prefix":"st\u0061tus"}"#), status);
        for none in [
            "",
            "{",
            "status",
            r#"["prefix","status"]"#,
            r#"{"x":{"prefix":"status"}}"#,
            r#"{"prefix":1,"x":"status"}"#,
            r#"{"prefix":["status"]}"#,
            r#"{"prefix":"sta"#,
            r#"{"prefix":"\u00"#,
            "{\"prefix\":\"\\u\u{e9}\u{e9}\u{e9}",
        ] {
            assert_eq!(get(none), None, "{none}");
        }
    }
}
