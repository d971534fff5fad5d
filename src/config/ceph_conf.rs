//! The text of a `ceph.conf`: sections, keys, values; and nothing of what the keys mean.
//!
//! As in Ceph, `#` and `;` begin comments anywhere but in quotes, a backslash takes the next
//! character as it is and joins lines at their end, and what comes before the first section is
//! global. A line that is none of this is an error, in any section: it may hide a section's begin.

use std::collections::BTreeMap;

use super::error::ConfigError;

/// The longest text that is read as a configuration file, in bytes: 1 MiB.
pub const CEPH_CONF_MAX: usize = 1 << 20;

/// Values by normalized keys, with the lines where the keys are. The last one of a key counts.
pub(super) type Section = BTreeMap<String, (usize, String)>;

/// What some sections of a `ceph.conf` say, by normalized keys such as `mon_host`; a section that
/// is named later wins. For options that are not a messenger's: see
/// [`Config::apply_ceph_conf`](crate::Config::apply_ceph_conf) for those.
///
/// ```
/// let text = "[global]\nmon host = 10.0.0.1\n[client.admin]\nkeyring = admin.keyring";
/// let values = async_messenger::ceph_conf_values(text, &["global", "client", "client.admin"])?;
/// assert_eq!(values["mon_host"], "10.0.0.1");
/// assert_eq!(values["keyring"], "admin.keyring");
/// # Ok::<(), async_messenger::ConfigError>(())
/// ```
///
/// # Errors
/// If the text is longer than [`CEPH_CONF_MAX`], or a line makes no sense.
pub fn ceph_conf_values(
    text: &str,
    sections: &[&str],
) -> Result<BTreeMap<String, String>, ConfigError> {
    let mut values = BTreeMap::new();
    for name in sections {
        let section = section(text, name)?;
        values.extend(section.into_iter().map(|(key, (_, value))| (key, value)));
    }
    Ok(values)
}

/// Reads what the section `[global]` says.
pub(super) fn global(text: &str) -> Result<Section, ConfigError> {
    section(text, "global")
}

fn section(text: &str, wanted: &str) -> Result<Section, ConfigError> {
    if text.len() > CEPH_CONF_MAX {
        let problem = format!(
            "a text of {} bytes, not {CEPH_CONF_MAX} at most",
            text.len()
        );
        return Err(ConfigError::new(problem));
    }
    let mut reader = Reader {
        rest: text.strip_prefix('\u{feff}').unwrap_or(text),
        line: 1,
    };
    let mut section = Section::new();
    let mut is_wanted = wanted == "global";
    while let Some(first) = reader.begin_line() {
        let line = reader.line;
        if first == '[' {
            is_wanted = reader.heading().map_err(|error| error.at(line))? == wanted;
        } else {
            let (key, value) = reader.pair().map_err(|error| error.at(line))?;
            if is_wanted {
                section.insert(key, (line, value));
            }
        }
    }
    Ok(section)
}

/// The key as Ceph writes it: words joined by underscores.
pub(super) fn normalize(key: &str) -> String {
    let words: Vec<&str> = key.split_whitespace().collect();
    words.join("_").replace('-', "_")
}

/// One character of a line.
enum Piece {
    Plain(char),
    /// Had a backslash, and so means only itself.
    Escaped(char),
    /// The end of the line, a comment, or the end of the text; it is still there.
    End,
}

struct Reader<'a> {
    rest: &'a str,
    /// From 1.
    line: usize,
}

impl Reader<'_> {
    /// Skips blanks, comments and ends of lines; the first character that is something else.
    fn begin_line(&mut self) -> Option<char> {
        loop {
            match self.peek()? {
                '#' | ';' => {
                    let end = self.rest.find('\n').unwrap_or(self.rest.len());
                    self.rest = &self.rest[end..];
                }
                c if c.is_whitespace() => self.bump(),
                _ => return self.peek(),
            }
        }
    }

    fn heading(&mut self) -> Result<String, ConfigError> {
        self.bump();
        let mut name = String::new();
        loop {
            match self.piece() {
                Piece::Plain(']') => break,
                Piece::Plain(c) | Piece::Escaped(c) => name.push(c),
                Piece::End => return Err(ConfigError::about(&name, "", "a section without ]")),
            }
        }
        self.nothing_more(&name)?;
        Ok(name.trim().to_owned())
    }

    fn pair(&mut self) -> Result<(String, String), ConfigError> {
        let mut key = String::new();
        loop {
            match self.piece() {
                Piece::Plain('=') => break,
                Piece::Plain(c) | Piece::Escaped(c) => key.push(c),
                Piece::End => {
                    let problem = "not a section, a comment or key = value";
                    return Err(ConfigError::about(key.trim(), "", problem));
                }
            }
        }
        let key = normalize(&key);
        if key.is_empty() {
            return Err(ConfigError::new("there is no key before the ="));
        }
        let value = self.value(&key)?;
        Ok((key, value))
    }

    fn value(&mut self, key: &str) -> Result<String, ConfigError> {
        let mut value = String::new();
        loop {
            match self.piece() {
                Piece::Plain(c) if c.is_whitespace() => {}
                Piece::Plain(quote @ ('"' | '\'')) => return self.quoted(key, quote),
                Piece::Plain(c) | Piece::Escaped(c) => {
                    value.push(c);
                    break;
                }
                Piece::End => return Ok(value),
            }
        }
        while let Piece::Plain(c) | Piece::Escaped(c) = self.piece() {
            value.push(c);
        }
        value.truncate(value.trim_end().len());
        Ok(value)
    }

    /// The rest of a value in quotes, in which comment signs are characters.
    fn quoted(&mut self, key: &str, quote: char) -> Result<String, ConfigError> {
        let mut value = String::new();
        loop {
            if let Some(c @ ('#' | ';')) = self.peek() {
                self.bump();
                value.push(c);
                continue;
            }
            match self.piece() {
                Piece::Plain(c) if c == quote => break,
                Piece::Plain(c) | Piece::Escaped(c) => value.push(c),
                Piece::End => {
                    let problem = format!("the quote {quote} is not closed on its line");
                    return Err(ConfigError::about(key, &value, problem));
                }
            }
        }
        self.nothing_more(key)?;
        Ok(value.trim().to_owned())
    }

    /// Checks that only blanks and a comment are left of the line.
    fn nothing_more(&mut self, what: &str) -> Result<(), ConfigError> {
        loop {
            match self.piece() {
                Piece::End => return Ok(()),
                Piece::Plain(c) if c.is_whitespace() => {}
                Piece::Plain(_) | Piece::Escaped(_) => {
                    let problem = "there is more on the line than a name or a value in quotes";
                    return Err(ConfigError::about(what, "", problem));
                }
            }
        }
    }

    /// Takes the next character of the line, and joins lines on the way.
    fn piece(&mut self) -> Piece {
        loop {
            match self.peek() {
                None | Some('\n' | '#' | ';') => return Piece::End,
                Some('\\') => {
                    self.bump();
                    if self.rest.starts_with("\r\n") {
                        self.bump();
                    }
                    match self.peek() {
                        None => return Piece::End,
                        Some(c) => {
                            self.bump();
                            if c != '\n' {
                                return Piece::Escaped(c);
                            }
                        }
                    }
                }
                Some(c) => {
                    self.bump();
                    return Piece::Plain(c);
                }
            }
        }
    }

    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn bump(&mut self) {
        let mut chars = self.rest.chars();
        self.line += usize::from(chars.next() == Some('\n'));
        self.rest = chars.as_str();
    }
}
