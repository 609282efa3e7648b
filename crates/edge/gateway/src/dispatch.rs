//! From a request to the function that serves it.

use std::sync::Arc;
use std::time::SystemTime;

use edge_keys::Claim;
use http::Request;
use http::request::Parts;
use hyper::body::Incoming;
use proto_lambda::{ApiError, ErrorCode, Operation, Support, resolve};

use crate::{
    call::Call,
    download, fixed, functions, guard, invoke, invoke_stream, logs, metrics,
    respond::Answer,
    shared::{Shared, Turn},
    versions,
};

/// Paths of our own, beside those of the Lambda API.
const OWN: &str = "/_rekindle/";

impl Shared {
    /// Serves a request; the name of its operation goes to the log.
    pub(crate) async fn route(
        self: &Arc<Self>,
        id: &str,
        request: Request<Incoming>,
        turn: &mut Turn,
    ) -> (&'static str, Answer) {
        if let Err(error) = guard::check_host(request.version(), request.headers()) {
            return ("refused", Err(error.into()));
        }
        if self.open()
            && let Err(error) = guard::check_local(request.headers(), request.uri())
        {
            return ("refused", Err(error.into()));
        }
        let path = request.uri().path();
        if let Some(own) = path.strip_prefix(OWN) {
            let own = own.to_owned();
            return ("own", self.route_own(id, &own, request, turn).await);
        }
        let query = request.uri().query().unwrap_or_default();
        let Some(resolved) = resolve(request.method().as_str(), path, query) else {
            return (
                "unknown",
                Err(ApiError::new(
                    ErrorCode::UNKNOWN_OPERATION,
                    "No operation has this method and path.",
                )
                .into()),
            );
        };
        let operation = resolved.operation;
        (
            operation.name(),
            self.perform(id, operation, resolved.parameters, request, turn)
                .await,
        )
    }

    async fn perform(
        self: &Arc<Self>,
        id: &str,
        operation: Operation,
        parameters: Vec<String>,
        request: Request<Incoming>,
        turn: &mut Turn,
    ) -> Answer {
        let (head, body) = request.into_parts();
        // A stranger's body is not read.
        let claim = self.check_head(&head, turn)?;
        let mut body = self.bodies.read(operation, body).await?;
        self.check_body(claim, &head, &body.bytes)?;
        turn.begin()?;
        let call = Call {
            id: id.to_owned(),
            parameters,
            head,
            body: std::mem::take(&mut body.bytes),
        };
        match operation.route().support {
            Support::Full => self.serve(operation, call).await,
            Support::Fixed => fixed::answer(self.service.registry(), operation, &call),
            Support::Absent => Err(ApiError::not_implemented(operation.name()).into()),
        }
    }

    /// Checks what the head says of who asks; none where nobody has to say.
    fn check_head(&self, head: &Parts, turn: &Turn) -> Result<Option<Claim>, ApiError> {
        let checker = self.checker.as_ref();
        checker
            .map(|it| it.check_head(head, turn.transport, SystemTime::now()))
            .transpose()
    }

    fn check_body(&self, claim: Option<Claim>, head: &Parts, body: &[u8]) -> Result<(), ApiError> {
        match (&self.checker, claim) {
            (Some(checker), Some(claim)) => {
                checker.check_body(&claim, head, body, SystemTime::now())
            }
            _ => Ok(()),
        }
    }

    async fn serve(self: &Arc<Self>, operation: Operation, call: Call) -> Answer {
        match operation {
            Operation::Invoke => invoke::invoke(self, &call).await,
            Operation::InvokeWithResponseStream => invoke_stream::invoke(self, &call).await,
            Operation::CreateFunction => functions::create(self, call).await,
            Operation::GetFunction => functions::get(self, &call).await,
            Operation::GetFunctionConfiguration => functions::get_configuration(self, &call).await,
            Operation::ListFunctions => functions::list(self, &call).await,
            Operation::ListVersionsByFunction => functions::list_versions(self, &call).await,
            Operation::UpdateFunctionCode => functions::update_code(self, call).await,
            Operation::UpdateFunctionConfiguration => {
                functions::update_configuration(self, &call).await
            }
            Operation::DeleteFunction => functions::delete(self, &call).await,
            Operation::PublishVersion => versions::publish(self, &call).await,
            Operation::CreateAlias => versions::create_alias(self, &call).await,
            Operation::GetAlias => versions::get_alias(self, &call),
            Operation::UpdateAlias => versions::update_alias(self, &call).await,
            Operation::DeleteAlias => versions::delete_alias(self, &call).await,
            Operation::ListAliases => versions::list_aliases(self, &call),
            Operation::GetAccountSettings => functions::account_settings(self),
            Operation::ListTags => functions::list_tags(self, &call),
            Operation::TagResource => functions::tag(self, &call).await,
            Operation::UntagResource => functions::untag(self, &call).await,
            // The table says what is supported; a test walks it.
            _ => Err(ApiError::not_implemented(operation.name()).into()),
        }
    }

    async fn route_own(
        self: &Arc<Self>,
        id: &str,
        path: &str,
        request: Request<Incoming>,
        turn: &mut Turn,
    ) -> Answer {
        let (head, _) = request.into_parts();
        if head.method != http::Method::GET {
            return Err(
                ApiError::new(ErrorCode::UNKNOWN_OPERATION, "Only GET is served here.").into(),
            );
        }
        if path == "logs" || path == "metrics" {
            let claim = self.check_head(&head, turn)?;
            self.check_body(claim, &head, b"")?;
        }
        if path != "health" {
            turn.begin()?;
        }
        let call = Call {
            id: id.to_owned(),
            parameters: Vec::new(),
            head,
            body: bytes::Bytes::new(),
        };
        match path {
            "health" => crate::respond::ok(&serde_json::json!({ "status": "ok" })),
            "logs" => logs::answer(self, &call),
            "metrics" => Ok(metrics::answer(self).await),
            _ => match path
                .strip_prefix("code/")
                .and_then(|name| name.strip_suffix(".zip"))
            {
                Some(name) => download::answer(self, name, &call).await,
                None => Err(ApiError::new(
                    ErrorCode::UNKNOWN_OPERATION,
                    "Nothing is served at this path.",
                )
                .into()),
            },
        }
    }
}
