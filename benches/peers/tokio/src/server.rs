//! A task per connection that answers what has come, then flushes.

use std::io;

use common::ServerArgs;
use futures_util::{FutureExt as _, SinkExt as _, StreamExt as _};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::runtime::Builder;

use crate::codec::How;
use crate::tls;

pub(crate) fn run(args: &ServerArgs, tls: bool, how: How) -> io::Result<()> {
    common::server::end_when_told()?;
    let mut builder = match args.threads {
        1 => Builder::new_current_thread(),
        _ => Builder::new_multi_thread(),
    };
    builder.worker_threads(args.threads.into()).enable_io();
    builder.build()?.block_on(async {
        let listener = TcpListener::bind(args.listen).await?;
        common::server::announce(listener.local_addr()?)?;
        let acceptor = tls.then(tls::acceptor);
        loop {
            let (socket, _) = listener.accept().await?;
            socket.set_nodelay(true)?;
            let acceptor = acceptor.clone();
            // An error is a client that has gone.
            tokio::spawn(async move {
                match acceptor {
                    Some(acceptor) => serve(acceptor.accept(socket).await?, how).await,
                    None => serve(socket, how).await,
                }
            });
        }
    })
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin>(socket: S, how: How) -> io::Result<()> {
    let mut framed = how.framed(socket);
    while let Some(first) = framed.next().await {
        let mut request = first?;
        loop {
            let (id, _) = how.open(&request);
            framed.feed((id, &[][..])).await?;
            request = match framed.next().now_or_never() {
                Some(Some(next)) => next?,
                _ => break,
            };
        }
        framed.flush().await?;
    }
    Ok(())
}
