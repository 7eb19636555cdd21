//! Listening over a connection that breaks anywhere, says things twice, and must end when told.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use throughline_domain::connector::BoxFuture;
use throughline_schemas::connector::ErrorClass;

use super::{Check, Extra, Need, Verdict};
use crate::kit::context::{Context, Union, difference, listen, listened};
use crate::kit::desk::Desk;
use crate::kit::silo::tcp::Orders;

pub(super) const LISTENER: &[Need] = &[Need::Listener];

pub(super) const CHECKS: &[Check] = &[
    Check { name: "listen/whole", needs: LISTENER, run: whole },
    Check { name: "listen/cut-anywhere-and-reconnect", needs: LISTENER, run: cut },
    Check { name: "listen/stream-in-pieces", needs: LISTENER, run: pieces },
    Check { name: "listen/duplicate", needs: LISTENER, run: duplicate },
    Check { name: "listen/stop-within-grace", needs: LISTENER, run: stop },
];

/// What comes of an undisturbed stream, and how many bytes the silo says on it.
pub(super) async fn undisturbed(context: &Context) -> Result<(Union, usize), String> {
    if context.tcp.is_empty() {
        return Err("the plugin listens, so kit.json must have a TCP script under \"tcp\", or skip this check with a reason".to_owned());
    }
    context.order(&Orders::default());
    context.take_most_said();
    let connected = context.connect()?;
    if let Some(Err(error)) = listen(context, &connected, None).await
        && error.class != ErrorClass::Transient
    {
        return Err(format!("listening ended with {error}"));
    }
    let all = listened(&connected.desk);
    if all.is_empty() { Err("nothing came of the kit's stream".to_owned()) } else { Ok((all, context.take_most_said())) }
}

fn whole<'a>(context: &'a Context, _: &'a Extra) -> BoxFuture<'a, Verdict> {
    Box::pin(async move {
        let (first, _) = undisturbed(context).await?;
        difference(&undisturbed(context).await?.0, &first).map_err(|text| format!("a second time: {text}"))
    })
}

/// Listens once with these orders and then undisturbed, as the hub would after a failure.
async fn after(context: &Context, orders: &Orders, wanted: &Union) -> Verdict {
    let desk = Arc::new(Desk::default());
    context.reset();
    context.order(orders);
    let connected = context.connect_to(desk.clone())?;
    if let Some(Err(error)) = listen(context, &connected, Some(wanted.len())).await
        && error.class == ErrorClass::Bug
    {
        return Err(format!("{orders:?}: {error}"));
    }
    context.order(&Orders::default());
    let connected = context.connect_to(desk.clone())?;
    if let Some(Err(error)) = listen(context, &connected, Some(wanted.len())).await
        && error.class != ErrorClass::Transient
    {
        return Err(format!("reconnected after {orders:?}: {error}"));
    }
    same_news(&listened(&desk), wanted).map_err(|text| format!("reconnected after {orders:?}: {text}"))
}

/// The same records with the same content. Their versions may have grown further: what came twice was told twice.
pub(super) fn same_news(got: &Union, wanted: &Union) -> Verdict {
    let unversioned = |union: &Union| -> Union {
        let without = |(key, item): (&(String, String), &throughline_schemas::connector::Item)| {
            let mut item = item.clone();
            (item.version, item.at_ms) = (None, None);
            (key.clone(), item)
        };
        union.iter().map(without).collect()
    };
    difference(&unversioned(got), &unversioned(wanted))
}

/// Every place if there are few, else so many evenly over all.
fn places(length: usize, most: usize) -> impl Iterator<Item = usize> {
    (1..length).step_by(length.div_ceil(most.max(1)).max(1))
}

/// What is tried at one place of the stream.
type Attempt = for<'c> fn(&'c Context, usize, &'c Union) -> BoxFuture<'c, Verdict>;

/// Several places at a time: most of an attempt is waiting for what may still come.
const AT_A_TIME: usize = 8;

/// Tries every place of the stream.
async fn everywhere(context: &Context, attempt: Attempt) -> Verdict {
    let (wanted, length) = undisturbed(context).await?;
    let places: Vec<usize> = places(length, context.plan.most_cuts).collect();
    let next = AtomicUsize::new(0);
    let workers = (0..AT_A_TIME.min(places.len())).map(|_| work_through(context, &places, &next, &wanted, attempt));
    futures_util::future::try_join_all(workers).await.map(drop)
}

async fn work_through(context: &Context, places: &[usize], next: &AtomicUsize, wanted: &Union, attempt: Attempt) -> Verdict {
    let own = context.sibling().await?;
    while let Some(at) = places.get(next.fetch_add(1, Ordering::Relaxed)) {
        attempt(&own, *at, wanted).await?;
        own.condense();
    }
    context.absorb(&own);
    Ok(())
}

fn cut<'a>(context: &'a Context, _: &'a Extra) -> BoxFuture<'a, Verdict> {
    Box::pin(everywhere(context, cut_at))
}

fn cut_at<'c>(context: &'c Context, at: usize, wanted: &'c Union) -> BoxFuture<'c, Verdict> {
    Box::pin(async move { after(context, &Orders { cut: Some(at), ..Orders::default() }, wanted).await })
}

fn pieces<'a>(context: &'a Context, _: &'a Extra) -> BoxFuture<'a, Verdict> {
    Box::pin(everywhere(context, split_at))
}

fn split_at<'c>(context: &'c Context, at: usize, wanted: &'c Union) -> BoxFuture<'c, Verdict> {
    Box::pin(async move {
        context.order(&Orders { split: Some(at), ..Orders::default() });
        let connected = context.connect()?;
        let ended = listen(context, &connected, Some(wanted.len())).await;
        if let Some(Err(error)) = ended
            && error.class != ErrorClass::Transient
        {
            return Err(format!("in two pieces, the first of {at} bytes: {error}"));
        }
        same_news(&listened(&connected.desk), wanted).map_err(|text| format!("in two pieces, the first of {at} bytes: {text}"))
    })
}

/// All of it once more, after it was taken whole.
fn duplicate<'a>(context: &'a Context, _: &'a Extra) -> BoxFuture<'a, Verdict> {
    Box::pin(async move {
        let (wanted, _) = undisturbed(context).await?;
        after(context, &Orders::default(), &wanted).await
    })
}

fn stop<'a>(context: &'a Context, _: &'a Extra) -> BoxFuture<'a, Verdict> {
    Box::pin(async move {
        undisturbed(context).await?;
        context.order(&Orders { hold: true, ..Orders::default() });
        let connected = context.connect()?;
        let listening = connected.connector.listen(None);
        let stopping = async {
            // It is to be stopped while it waits for more, not while it is still busy.
            while tokio::time::timeout(Duration::from_millis(300), connected.desk.news()).await.is_ok() {}
            let began = Instant::now();
            connected.connector.stop().await;
            began.elapsed()
        };
        let (ended, took) = tokio::join!(listening, stopping);
        match ended {
            Err(error) if error.class != ErrorClass::Cancelled => Err(format!("stopped, it ended with {error}")),
            // The host's grace: what does not end by itself is dropped after it.
            _ if took >= Duration::from_millis(1900) => Err(format!("it did not end when told to: dropped after {} ms", took.as_millis())),
            _ => Ok(()),
        }
    })
}
