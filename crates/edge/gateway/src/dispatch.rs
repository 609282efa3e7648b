//! From a request to the function that serves it.

use std::sync::Arc;

use http::Request;
use hyper::body::Incoming;
use proto_lambda::{ApiError, ErrorCode, Operation, Support, resolve};

use crate::{
    call::Call, download, fixed, functions, guard, invoke, invoke_stream, logs, metrics,
    respond::Answer, shared::Shared, signature, versions,
};

/// Paths of our own, beside those of the Lambda API.
const OWN: &str = "/_rekindle/";

impl Shared {
    /// Serves a request; the name of its operation goes to the log.
    pub(crate) async fn route(
        self: &Arc<Self>,
        id: &str,
        request: Request<Incoming>,
    ) -> (&'static str, Answer) {
        if self.open()
            && let Err(error) = guard::check_local(request.headers(), request.uri())
        {
            return ("refused", Err(error.into()));
        }
        let path = request.uri().path();
        if let Some(own) = path.strip_prefix(OWN) {
            let own = own.to_owned();
            return ("own", self.route_own(id, &own, request).await);
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
            self.perform(id, operation, resolved.parameters, request)
                .await,
        )
    }

    async fn perform(
        self: &Arc<Self>,
        id: &str,
        operation: Operation,
        parameters: Vec<String>,
        request: Request<Incoming>,
    ) -> Answer {
        let (head, body) = request.into_parts();
        // A stranger's body is not read.
        let claim = signature::check_claim(&self.config.keys, &head)?;
        let mut body = self.bodies.read(operation, body).await?;
        if let Some(claim) = claim {
            claim.check(&head, &body.bytes)?;
        }
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
    ) -> Answer {
        let (head, _) = request.into_parts();
        if head.method != http::Method::GET {
            return Err(
                ApiError::new(ErrorCode::UNKNOWN_OPERATION, "Only GET is served here.").into(),
            );
        }
        let claim = if path == "logs" || path == "metrics" {
            signature::check_claim(&self.config.keys, &head)?
        } else {
            None
        };
        if let Some(claim) = claim {
            claim.check(&head, b"")?;
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
