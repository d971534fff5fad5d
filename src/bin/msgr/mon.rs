//! `msgr mon-map` and `msgr mon-command`: what monitors tell those who log in.

use std::fmt::Write as _;

use async_messenger::messages::MonMap;
use async_messenger::mon::Command;

use crate::args::{Global, MonCommandArgs, MonMapArgs};
use crate::client::Asker;
use crate::failure::{Exit, Failure};
use crate::json::quoted;

/// Prints the monmap.
pub(crate) fn map(global: &Global, args: &MonMapArgs) -> Result<(), Failure> {
    let asker = Asker::new(global, &args.peer)?;
    let map = asker.client.mon_map(asker.within).wait()?;
    crate::print(if args.json {
        map_as_json(&map)
    } else {
        map_as_text(&map)
    })
}

/// Has a command run; prints its output on stdout, and what the monitor says about it on stderr.
pub(crate) fn command(global: &Global, args: &MonCommandArgs) -> Result<(), Failure> {
    let asker = Asker::new(global, &args.peer)?;
    let peer = asker.log_in()?;
    let command = Command::new(&args.command);
    let answer = asker.client.command(command, asker.within).wait()?;
    if answer.result != 0 {
        let (result, text) = (answer.result, answer.text);
        let what = format!("{peer}: the command failed: {text} ({result})");
        let cure = r#"known ones are listed by '{"prefix":"get_command_descriptions"}'"#;
        return Err(Failure::new(Exit::Refused, what, cure));
    }
    if !answer.text.is_empty() {
        eprintln!("{}", answer.text);
    }
    crate::print(answer.data)
}

fn map_as_text(map: &MonMap) -> String {
    let MonMap {
        epoch,
        fsid,
        min_mon_release,
        ..
    } = map;
    let mut out = format!("epoch {epoch}\nfsid {fsid}\nmin_mon_release {min_mon_release}\n");
    for (rank, mon) in map.mons.iter().enumerate() {
        let _ = writeln!(out, "{rank}: {} mon.{}", mon.addrs, mon.name);
    }
    out
}

fn map_as_json(map: &MonMap) -> String {
    let mons = map.mons.iter().enumerate().map(|(rank, mon)| {
        let name = quoted(&mon.name);
        let addrs: Vec<_> = mon
            .addrs
            .0
            .iter()
            .map(|addr| quoted(&addr.to_string()))
            .collect();
        let addrs = addrs.join(",");
        format!(r#"{{"rank":{rank},"name":{name},"addrs":[{addrs}]}}"#)
    });
    let mons = mons.collect::<Vec<_>>().join(",");
    let MonMap {
        epoch,
        fsid,
        min_mon_release,
        ..
    } = map;
    format!(
        r#"{{"epoch":{epoch},"fsid":"{fsid}","min_mon_release":{min_mon_release},"mons":[{mons}]}}"#
    )
}
