//! `msgr mon-map` and `msgr mon-command`: what monitors tell those who log in.

use std::fmt::Write as _;

use async_messenger::messages::{
    AUTH_CEPHX, AUTH_NONE, AuthOffer, MAuth, MAuthReply, MMonCommand, MMonCommandAck, MMonGetMap,
    MMonMap, MonMap,
};
use async_messenger::wire::{AuthName, EntityType};

use crate::args::{Global, MonCommandArgs, MonMapArgs, PeerArgs};
use crate::client::Client;
use crate::failure::{Exit, Failure};
use crate::json::quoted;

/// Prints the monmap.
pub(crate) fn map(global: &Global, args: &MonMapArgs) -> Result<(), Failure> {
    let (_client, map) = log_in(global, &args.peer)?;
    crate::print(if args.json {
        map_as_json(&map)
    } else {
        map_as_text(&map)
    })
}

/// Has a command run; prints its output on stdout, and what the monitor says about it on stderr.
pub(crate) fn command(global: &Global, args: &MonCommandArgs) -> Result<(), Failure> {
    // A monitor refuses commands that are meant for another cluster.
    let (client, map) = log_in(global, &args.peer)?;
    let command = MMonCommand {
        fsid: map.fsid,
        command: vec![args.command.clone()],
        ..MMonCommand::default()
    };
    let ack: MMonCommandAck = client.ask(&command)?;
    if ack.result != 0 {
        let (result, status) = (ack.result, ack.status);
        let what = format!("{}: the command failed: {status} ({result})", client.peer());
        let cure = r#"known ones are listed by '{"prefix":"get_command_descriptions"}'"#;
        return Err(Failure::new(Exit::Refused, what, cure));
    }
    if !ack.status.is_empty() {
        eprintln!("{}", ack.status);
    }
    crate::print(ack.output)
}

/// Connects, authenticates by the method none, and fetches the monmap.
fn log_in(global: &Global, args: &PeerArgs) -> Result<(Client, MonMap), Failure> {
    let client = Client::connect(global, args.addr)?;
    let offer = AuthOffer {
        methods: vec![AUTH_NONE],
        name: AuthName::new(EntityType::CLIENT, "admin"),
        global_id: 0,
    };
    let reply: MAuthReply = client.ask(&MAuth::offering(&offer))?;
    if reply.result != 0 || reply.protocol != AUTH_NONE {
        return Err(not_let_in(&client, &reply));
    }
    let answer: MMonMap = client.ask(&MMonGetMap)?;
    let map = answer.map().map_err(|error| {
        let what = format!("{}: its monmap makes no sense: {error}", client.peer());
        Failure::new(Exit::Refused, what, "check which release it is of")
    })?;
    Ok((client, map))
}

fn not_let_in(client: &Client, reply: &MAuthReply) -> Failure {
    let MAuthReply {
        protocol,
        result,
        text,
        ..
    } = reply;
    let method = match *protocol {
        AUTH_CEPHX => "it wants cephx".to_owned(),
        0 | AUTH_NONE => "it probably wants cephx".to_owned(),
        other => format!("it wants method {other}"),
    };
    let what = format!(
        "{}: authentication: the monitor does not take the method none, {method} (result \
         {result}{}{text})",
        client.peer(),
        if text.is_empty() { "" } else { ": " },
    );
    let cure = "cephx is not spoken yet: use a cluster with `auth client required = none` and \
                `auth cluster/service required = none`";
    Failure::new(Exit::Authentication, what, cure)
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
