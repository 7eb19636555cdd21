//! What is posted to the connection's hook: proven, forged, repeated, tampered with.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use throughline_domain::connector::{BoxFuture, HubServices as _};
use throughline_schemas::connector::{HttpRequest, HttpResponse, Item};

use super::{Check, Extra, Need, Verdict, wanted};
use crate::kit::context::Context;
use crate::kit::plan::{Proof, WebhookPlan};
use crate::kit::rig::Connected;

const WEBHOOK: &[Need] = &[Need::Webhook];

pub(super) const CHECKS: &[Check] = &[
    Check { name: "webhook/accepted", needs: WEBHOOK, run: accepted },
    Check { name: "webhook/bad-signature", needs: WEBHOOK, run: bad_signature },
    Check { name: "webhook/replay", needs: WEBHOOK, run: replay },
    Check { name: "webhook/re-serialised-body", needs: WEBHOOK, run: reserialised },
];

struct Bench<'c> {
    context: &'c Context,
    plan: &'c WebhookPlan,
    connected: Connected,
}

impl<'c> Bench<'c> {
    fn new(context: &'c Context) -> Result<Self, String> {
        let plan = wanted(context.plan.webhook.as_ref(), "webhook", "the plugin takes webhook requests")?;
        Ok(Self { context, plan, connected: context.connect()? })
    }

    fn secret(&self, name: &str) -> Result<&str, String> {
        self.context.plan.secrets.get(name).map(String::as_str).ok_or_else(|| format!("the kit has no secret {name:?}"))
    }

    /// The request with this body and the proof for another.
    fn request(&self, body: &str, proven: &str, seconds: i64) -> Result<HttpRequest, String> {
        let mut headers: Vec<(String, String)> = self.plan.headers.clone().into_iter().collect();
        match &self.plan.proof {
            Proof::Token { secret, header } => headers.push((header.clone(), self.secret(secret)?.to_owned())),
            Proof::HmacSha256 { secret, header, prefix, timestamp_header } => {
                let time = timestamp_header.as_ref().map(|name| (name.clone(), seconds.to_string()));
                let signed = time.as_ref().map_or_else(|| proven.to_owned(), |(_, time)| format!("{time}.{proven}"));
                headers.extend(time);
                headers.push((header.clone(), format!("{prefix}{}", sign(self.secret(secret)?, &signed))));
            }
        }
        Ok(HttpRequest { method: "POST".to_owned(), url: "/".to_owned(), headers, body: Some(body.as_bytes().to_vec()) })
    }

    fn now(&self) -> i64 {
        self.connected.desk.now().as_millis() / 1000
    }

    fn good(&self) -> Result<HttpRequest, String> {
        self.request(&self.plan.body, &self.plan.body, self.now())
    }

    async fn post(&self, request: HttpRequest) -> Result<(HttpResponse, Vec<Item>), String> {
        let called = self.context.witness(self.connected.connector.webhook(request).await).map_err(|error| error.to_string())?;
        self.connected.desk.commit(called.state);
        Ok(called.value)
    }

    async fn must_refuse(&self, what: &str, request: HttpRequest) -> Verdict {
        let (response, items) = self.post(request).await.map_err(|error| format!("{what}: {error}"))?;
        if !items.is_empty() || !(400..500).contains(&response.status) {
            return Err(format!("{what}: answered {} with {} items", response.status, items.len()));
        }
        Ok(())
    }
}

fn sign(secret: &str, text: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("a key of any length will do");
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn accepted<'a>(context: &'a Context, _: &'a Extra) -> BoxFuture<'a, Verdict> {
    Box::pin(async move {
        let bench = Bench::new(context)?;
        let (response, items) = bench.post(bench.good()?).await?;
        if !(200..300).contains(&response.status) || items.len() < bench.plan.items {
            let body = String::from_utf8_lossy(&response.body).into_owned();
            return Err(format!("answered {} {body:?} with {} items of {}", response.status, items.len(), bench.plan.items));
        }
        Ok(())
    })
}

fn bad_signature<'a>(context: &'a Context, _: &'a Extra) -> BoxFuture<'a, Verdict> {
    Box::pin(async move {
        let bench = Bench::new(context)?;
        let proof = match &bench.plan.proof {
            Proof::Token { header, .. } | Proof::HmacSha256 { header, .. } => header.clone(),
        };
        let changed = |change: &dyn Fn(&str) -> String| -> Result<HttpRequest, String> {
            let mut request = bench.good()?;
            request.headers.iter_mut().filter(|(name, _)| *name == proof).for_each(|(_, value)| *value = change(value));
            Ok(request)
        };
        let last_other = |value: &str| format!("{}{}", &value[..value.len() - 1], if value.ends_with('0') { '1' } else { '0' });
        bench.must_refuse("another last character", changed(&last_other)?).await?;
        bench.must_refuse("half a proof", changed(&|value| value[..value.len() / 2].to_owned())?).await?;
        bench.must_refuse("an empty proof", changed(&|_| String::new())?).await?;
        let mut without = bench.good()?;
        without.headers.retain(|(name, _)| *name != proof);
        bench.must_refuse("no proof", without).await
    })
}

/// The same request again says nothing new; one that was proven long ago is none.
fn replay<'a>(context: &'a Context, _: &'a Extra) -> BoxFuture<'a, Verdict> {
    Box::pin(async move {
        let bench = Bench::new(context)?;
        let request = bench.good()?;
        let (_, first) = bench.post(request.clone()).await?;
        let (_, again) = bench.post(request).await?;
        let known =
            |item: &Item| first.iter().any(|seen| (&seen.entity, &seen.key, &seen.version) == (&item.entity, &item.key, &item.version));
        if !again.iter().all(known) {
            return Err(format!("repeated, it brought something new: {}", super::shortened(&format!("{again:?}"))));
        }
        if matches!(&bench.plan.proof, Proof::HmacSha256 { timestamp_header: Some(_), .. }) {
            let old = bench.request(&bench.plan.body, &bench.plan.body, bench.now() - 86_400)?;
            bench.must_refuse("a proof of yesterday", old).await?;
        }
        Ok(())
    })
}

fn reserialised<'a>(context: &'a Context, _: &'a Extra) -> BoxFuture<'a, Verdict> {
    Box::pin(async move {
        let bench = Bench::new(context)?;
        if matches!(bench.plan.proof, Proof::Token { .. }) {
            return Err("a token proves nothing about the body: say in skip what keeps others from changing it".to_owned());
        }
        let other = format!(" {}", bench.plan.body);
        bench
            .must_refuse("a body that means the same and is written otherwise", bench.request(&other, &bench.plan.body, bench.now())?)
            .await
    })
}
