//! Who takes part, and how each is called.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// What is started for the two sides, which follow the interface of `msgr bench`.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    pub(crate) name: String,
    pub(crate) server: Vec<String>,
    pub(crate) client: Vec<String>,
}

/// The rivals: name, executable beside this one, and options.
const RIVALS: [(&str, &str, &[&str]); 11] = [
    ("raw", "peer-raw", &[]),
    ("raw-uring", "peer-uring", &[]),
    (
        "raw-uring-small",
        "peer-uring",
        &["--bundle", "--buffers=1024", "--buffer-size=16384"],
    ),
    ("raw-uring-single", "peer-uring", &["--single-shot"]),
    ("raw-uring-zc", "peer-uring", &["--zero-copy=4096"]),
    ("tokio", "peer-tokio", &[]),
    ("tokio-tuned", "peer-tokio", &["--tuned"]),
    ("tokio-tls", "peer-tokio", &["--tls"]),
    ("tokio-tls-tuned", "peer-tokio", &["--tls", "--tuned"]),
    ("tonic", "peer-tonic", &[]),
    ("zmq", "peer-zmq", &[]),
];

/// What `msgr` can be, beside this with a driver. The sessions are lossy unless the name says
/// otherwise, as those of Ceph's own programs are.
const VARIANTS: [&str; 7] = [
    "v1",
    "v2",
    "v2-secure",
    "v1-lossless",
    "v2-lossless",
    "v1-spin",
    "v2-spin",
];

/// How a worker of the last two is told to look on before it sleeps.
const SPIN: &str = "spin=0.00005";

/// A key for both sides of a secure session.
const KEYRING: &str = "[osd.]\n\tkey = AQAAAAAAAAAAABAAAQIDBAUGBwgJCgsMDQ4PEA==\n";

pub(crate) struct Catalogue {
    programs: Vec<Program>,
    keyring: PathBuf,
}

impl Catalogue {
    /// All there are.
    pub(crate) fn new(msgrs: &[String], ceph: Option<&Path>) -> io::Result<Self> {
        let keyring = env::temp_dir().join(format!("compare-{}.keyring", std::process::id()));
        fs::write(&keyring, KEYRING)?;
        let mut this = Self {
            programs: Vec::new(),
            keyring,
        };
        let beside = env::current_exe()?;
        for (name, exe, options) in RIVALS {
            let rival = rival(name, &beside.with_file_name(exe), options);
            match serves(&rival) {
                Ok(()) => this.programs.push(rival),
                Err(e) => eprintln!("without {name}: {e}"),
            }
        }
        for msgr in msgrs {
            let (prefix, path) = match msgr.split_once('=') {
                Some((name, path)) => (format!("{name}:"), path),
                None => (String::new(), &msgr[..]),
            };
            for variant in VARIANTS {
                let name = format!("{prefix}{variant}");
                this.programs.push(this.msgr(name, path, variant, None));
            }
        }
        if let Some(script) = ceph {
            for variant in ["v1", "v2", "v2-secure"] {
                this.programs.push(of_ceph(script, variant));
            }
        }
        Ok(this)
    }

    /// Those with these names, or all.
    pub(crate) fn choose(&self, names: &[String]) -> io::Result<Vec<Program>> {
        if names.is_empty() {
            return Ok(self.programs.clone());
        }
        names.iter().map(|name| self.find(name)).collect()
    }

    fn find(&self, name: &str) -> io::Result<Program> {
        let (plain, driver) = match name.split_once('@') {
            Some((plain, driver)) => (plain, Some(driver)),
            None => (name, None),
        };
        let found = self.programs.iter().find(|program| program.name == plain);
        let Some(found) = found else {
            let known: Vec<&str> = self.programs.iter().map(|p| &p.name[..]).collect();
            let what = format!("no program {name}; there are {}", known.join(", "));
            return Err(io::Error::new(ErrorKind::NotFound, what));
        };
        let Some(driver) = driver else {
            return Ok(found.clone());
        };
        let variant = plain.rsplit(':').next().expect("a name");
        let path = &found.server[0];
        Ok(self.msgr(name.to_owned(), path, variant, Some(driver)))
    }

    /// One worker on each side, as the others have.
    fn msgr(&self, name: String, path: &str, variant: &str, driver: Option<&str>) -> Program {
        let side = |task: &str| {
            let mut words = vec![path.to_owned()];
            words.extend(driver.map(|name| format!("--driver={name}")));
            words.extend(["bench", task, "--workers=1"].map(str::to_owned));
            if variant.ends_with("spin") {
                words.push(format!("--set={SPIN}"));
            }
            if variant.ends_with("secure") {
                words.push(format!("--keyring={}", self.keyring.display()));
                words.push("--mode=secure".to_owned());
            }
            words
        };
        let (mut server, mut client) = (side("server"), side("client"));
        let version = &variant[..2];
        server.push(format!("--listen={version}:127.0.0.1:0"));
        if variant.ends_with("lossless") {
            server.push("--policy=stateful-server".to_owned());
            client.push("--own-messengers".to_owned());
        } else {
            client.push("--policy=lossy-client".to_owned());
        }
        Program {
            name,
            server,
            client,
        }
    }
}

impl Drop for Catalogue {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.keyring);
    }
}

fn rival(name: &str, exe: &Path, options: &[&str]) -> Program {
    let side = |task: &str| {
        let exe = exe.to_string_lossy().into_owned();
        let options = options.iter().map(|&option| option.to_owned());
        [exe, task.to_owned()].into_iter().chain(options).collect()
    };
    Program {
        name: name.to_owned(),
        server: side("server"),
        client: side("client"),
    }
}

/// Whether it is there, and the system lets it serve: io_uring may be refused. Without input a
/// server ends at once.
fn serves(program: &Program) -> io::Result<()> {
    let mut server = Command::new(&program.server[0]);
    let output = server.args(&program.server[1..]).output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!(
        "{}: {}",
        output.status,
        said.trim()
    )))
}

fn of_ceph(script: &Path, variant: &str) -> Program {
    let version = &variant[..2];
    let listen = format!("{version}:127.0.0.1:0");
    let mode: &[&str] = match variant {
        "v2-secure" => &["--mode", "secure"],
        _ => &[],
    };
    let mut program = rival(&format!("ceph-{variant}"), script, mode);
    program.server.extend(["--listen".to_owned(), listen]);
    program
}
