//! A task per connection on one thread, that handles all replies there are and sends as many
//! requests.

use std::cell::RefCell;
use std::io::{self, ErrorKind};
use std::rc::Rc;
use std::time::Instant;

use common::{ClientArgs, InFlight, Meter};
use futures_util::{FutureExt as _, SinkExt as _, StreamExt as _};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::runtime::Builder;
use tokio::task::{JoinSet, LocalSet};

use crate::codec::How;
use crate::tls;

pub(crate) fn run(args: ClientArgs, tls: bool, how: How) -> io::Result<()> {
    let runtime = Builder::new_current_thread().enable_io().build()?;
    LocalSet::new().block_on(&runtime, async {
        let connector = tls.then(tls::connector);
        let mut sockets = Vec::new();
        for _ in 0..args.connections {
            let socket = TcpStream::connect(args.addr).await?;
            socket.set_nodelay(true)?;
            sockets.push(socket);
        }
        let meter = Rc::new(RefCell::new(Meter::new(&args)));
        let mut tasks = JoinSet::new();
        for socket in sockets {
            let (args, meter, connector) = (args.clone(), Rc::clone(&meter), connector.clone());
            tasks.spawn_local(async move {
                match connector {
                    Some(connector) => {
                        let socket = connector.connect(tls::name(), socket).await?;
                        drive(socket, &args, how, &meter).await
                    }
                    None => drive(socket, &args, how, &meter).await,
                }
            });
        }
        // The first that sees the end.
        tasks.join_next().await.expect("a connection")??;
        meter.borrow().print();
        Ok(())
    })
}

async fn drive<S: AsyncRead + AsyncWrite + Unpin>(
    socket: S,
    args: &ClientArgs,
    how: How,
    meter: &RefCell<Meter>,
) -> io::Result<()> {
    let data = vec![0x5a; args.size as usize];
    let mut framed = how.framed(socket);
    let mut in_flight = InFlight::default();
    let mut count = u64::from(args.depth);
    let mut now = Instant::now();
    loop {
        for id in in_flight.issue(now, count) {
            framed.feed((id, &data[..])).await?;
        }
        framed.flush().await?;

        count = 0;
        let mut reply = framed.next().await.ok_or(ErrorKind::UnexpectedEof)??;
        loop {
            let (id, rest) = how.open(&reply);
            assert_eq!((id, rest.len()), (in_flight.oldest() + count, 0), "a reply");
            count += 1;
            reply = match framed.next().now_or_never() {
                Some(Some(more)) => more?,
                _ => break,
            };
        }
        now = Instant::now();
        let mut meter = meter.borrow_mut();
        in_flight.replied(now, count, &mut meter);
        if meter.advance(now) {
            return Ok(());
        }
    }
}
