//! A stand-in for an OSD, with its objects in memory: `object_store ADDRS`.
//!
//! It takes the place of a killed OSD, at the addresses that the map goes on naming, such as
//! `[v2:127.0.0.1:6802/123,v1:127.0.0.1:6803/123]`; `rados put`, `get`, `stat`, `rm` and `bench`
//! work then, without authentication. There are no snapshots, attributes and lists, and an append
//! that a client repeats after a reconnect is done twice.

use std::collections::HashMap;
use std::error::Error;
use std::sync::{Arc, Mutex};

use async_messenger::message::{Message, Payload as _};
use async_messenger::messages::{
    EVersion, MOSDOp, MOSDOpReply, NOSNAP, ObjectLocator, ObjectStat, OsdOp, OsdOpCode,
};
use async_messenger::wire::{AddrVec, EntityName, MsgHead, Timespec};
use async_messenger::{Connection, Dispatcher, Messenger, Policy};
use bytes::Bytes;

/// Bytes of one object, as Ceph's `osd_max_object_size`.
const OBJECT_MAX: usize = 128 << 20;
/// Bytes of all objects with their names, and with what each costs besides.
const STORE_MAX: usize = 16 << 30;
const OBJECT_COST: usize = 256;
/// Ops in one request.
const OPS_MAX: usize = 16;
const ENOENT: i32 = -2;
const EINVAL: i32 = -22;
const EFBIG: i32 = -27;
const ENOSPC: i32 = -28;
const EOPNOTSUPP: i32 = -95;

#[derive(Clone, Default)]
struct Object {
    content: Bytes,
    mtime: Timespec,
}

#[derive(Default)]
struct Store {
    objects: HashMap<(ObjectLocator, Bytes), Object>,
    used: usize,
    version: u64,
}

impl Store {
    /// Runs all ops on what is there, and keeps what they made of it if none has failed.
    fn handle(&mut self, request: &MOSDOp) -> MOSDOpReply {
        let name = (request.locator.clone(), request.object.clone());
        let old = self.objects.get(&name);
        let mut object = old.cloned();
        let (result, ops) = match request.ops.len() {
            _ if request.snap != NOSNAP || !request.snaps.is_empty() => (EOPNOTSUPP, vec![]),
            0..=OPS_MAX => request.run(|op| run_op(&mut object, op)),
            _ => (EINVAL, vec![]),
        };
        let cost = |object: &Object| object.content.len() + request.object.len() + OBJECT_COST;
        let used = self.used - old.map_or(0, cost) + object.as_ref().map_or(0, cost);
        if result == 0 && request.ops.iter().any(|op| op.code.is_write()) {
            if used > STORE_MAX {
                return request.reply(ENOSPC, ops, EVersion::default());
            }
            self.version += 1;
            self.used = used;
            self.objects.remove(&name);
            if let Some(Object { content, .. }) = object {
                let mtime = request.mtime;
                self.objects.insert(name, Object { content, mtime });
            }
        }
        let (version, epoch) = (self.version, request.map_epoch);
        request.reply(result, ops, EVersion { version, epoch })
    }
}

fn run_op(object: &mut Option<Object>, op: &OsdOp) -> Result<Bytes, i32> {
    let (offset, length) = op.extent();
    let place = |n: u64| usize::try_from(n).map_or(OBJECT_MAX, |n| n.min(OBJECT_MAX));
    let (offset, length) = (place(offset), place(length));
    let size = object.as_ref().map_or(0, |object| object.content.len());
    match op.code {
        OsdOpCode::SET_ALLOC_HINT => drop(object.get_or_insert_default()),
        OsdOpCode::WRITE_FULL => write(object.insert(Object::default()), 0, &op.data)?,
        OsdOpCode::WRITE if length != op.data.len() => return Err(EINVAL),
        OsdOpCode::WRITE => write(object.get_or_insert_default(), offset, &op.data)?,
        OsdOpCode::APPEND => write(object.get_or_insert_default(), size, &op.data)?,
        OsdOpCode::DELETE => drop(object.take().ok_or(ENOENT)?),
        OsdOpCode::READ => {
            let content = &object.as_ref().ok_or(ENOENT)?.content;
            let end = (offset + if length == 0 { size } else { length }).min(size);
            return Ok(content.slice(offset.min(end)..end));
        }
        OsdOpCode::STAT => {
            let (size, mtime) = (size as u64, object.as_ref().ok_or(ENOENT)?.mtime);
            return Ok(ObjectStat { size, mtime }.to_bytes());
        }
        _ => return Err(EOPNOTSUPP),
    }
    Ok(Bytes::new())
}

/// By a copy: what is read may still be on its way, and a slice would keep its receive buffer.
fn write(object: &mut Object, offset: usize, data: &[u8]) -> Result<(), i32> {
    let old = &object.content;
    if offset + data.len() > OBJECT_MAX {
        return Err(EFBIG);
    }
    let mut new = Vec::with_capacity(old.len().max(offset + data.len()));
    new.extend_from_slice(&old[..offset.min(old.len())]);
    new.resize(offset, 0);
    new.extend_from_slice(data);
    new.extend_from_slice(old.get(new.len()..).unwrap_or_default());
    object.content = new.into();
    Ok(())
}

struct Osd(Mutex<Store>);

impl Dispatcher for Osd {
    fn can_fast_dispatch(&self, head: &MsgHead) -> bool {
        head.kind == MOSDOp::KIND
    }

    fn fast_dispatch(&self, connection: &Connection, message: Message) {
        let sent = message.decode::<MOSDOp>().map(|request| {
            let reply = self.0.lock().expect("not poisoned").handle(&request);
            let reply = Message::from_payload(&reply, connection.features());
            connection.send(reply.with_tid(message.tid())).is_ok()
        });
        if sent != Ok(true) {
            eprintln!("object_store: no answer to {message}");
            connection.mark_down();
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let usage = "usage: object_store '[v2:IP:PORT/NONCE,v1:IP:PORT/NONCE]'";
    let addrs: AddrVec = std::env::args().nth(1).ok_or(usage)?.parse()?;
    let messenger = Messenger::builder(EntityName::osd(0))
        .nonce(addrs.front().nonce)
        .default_policy(Policy::stateless_server(MOSDOp::FEATURES))
        .build()?;
    let addrs = messenger.bind(&addrs)?;
    messenger.add_dispatcher_tail(Arc::new(Osd(Mutex::default())))?;
    messenger.start()?;
    println!("ready {addrs}");
    Ok(messenger.wait()?)
}
