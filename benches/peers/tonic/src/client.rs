//! A task and a channel of its own for each connection, all on one thread.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Instant;

use bytes::Bytes;
use common::{ClientArgs, InFlight, Meter};
use futures_util::{FutureExt as _, StreamExt as _};
use tokio::runtime::Builder;
use tokio::sync::mpsc;
use tokio::task::{JoinSet, LocalSet};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::transport::{Channel, Endpoint};

use crate::message::Request;
use crate::service::bench_client::BenchClient;
use crate::{Error, MESSAGE, WINDOW};

pub(crate) fn run(args: &ClientArgs) -> Result<(), Error> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async {
        let endpoint = Endpoint::from_shared(format!("http://{}", args.addr))?
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(WINDOW)
            .tcp_nodelay(true);
        let mut channels = Vec::new();
        for _ in 0..args.connections {
            channels.push(endpoint.connect().await?);
        }
        let meter = Rc::new(RefCell::new(Meter::new(args)));
        let mut tasks = JoinSet::new();
        for channel in channels {
            let (args, meter) = (args.clone(), Rc::clone(&meter));
            tasks.spawn_local(async move { drive(channel, &args, &meter).await });
        }
        // The first that sees the end.
        tasks.join_next().await.expect("a connection")??;
        meter.borrow().print();
        Ok(())
    })
}

async fn drive(channel: Channel, args: &ClientArgs, meter: &RefCell<Meter>) -> Result<(), Error> {
    let data = Bytes::from(vec![0x5a; args.size as usize]);
    // No more wait in there than are in flight.
    let (requests, queue) = mpsc::unbounded_channel();
    let mut client = BenchClient::new(channel).max_decoding_message_size(MESSAGE);
    let mut in_flight = InFlight::default();
    let issue = |in_flight: &mut InFlight, now, count| {
        for id in in_flight.issue(now, count) {
            let data = data.clone();
            requests.send(Request { id, data }).expect("a stream");
        }
    };
    issue(&mut in_flight, Instant::now(), args.depth.into());
    let queue = UnboundedReceiverStream::new(queue);
    let mut replies = client.exchange(queue).await?.into_inner();
    loop {
        let mut count = 0;
        let mut reply = replies.next().await.ok_or("the stream has ended")??;
        loop {
            assert_eq!(reply.id, in_flight.oldest() + count, "a reply");
            count += 1;
            reply = match replies.next().now_or_never() {
                Some(Some(more)) => more?,
                _ => break,
            };
        }
        let now = Instant::now();
        let mut meter = meter.borrow_mut();
        in_flight.replied(now, count, &mut meter);
        if meter.advance(now) {
            return Ok(());
        }
        drop(meter);
        issue(&mut in_flight, now, count);
    }
}
