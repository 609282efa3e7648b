//! Looking at functions, with what only the node knows of them: whether there is a snapshot.

use std::{collections::BTreeMap, sync::Arc};

use control_registry::{FindError, Function, ListError, Phase};
use proto_lambda::{
    FunctionConfiguration, FunctionRef, ListFunctionsResponse, ListVersionsResponse,
};
use proto_node::LogRecord;

use crate::Service;

/// Everything about one version of a function.
#[derive(Debug)]
pub struct Description {
    /// The version.
    pub function: Arc<Function>,
    /// Its configuration as it is now.
    pub configuration: FunctionConfiguration,
    /// Tags of the function; versions and aliases have none of their own.
    pub tags: BTreeMap<String, String>,
}

impl Service {
    /// GetFunction.
    pub async fn describe(&self, wanted: &FunctionRef) -> Result<Description, FindError> {
        let function = self.registry.find(wanted)?;
        let latest = self.registry.find(&wanted.clone().without_qualifier())?;
        Ok(Description {
            configuration: self.settled(&function, wanted).await,
            tags: latest.record.tags.clone(),
            function,
        })
    }

    /// GetFunctionConfiguration.
    pub async fn configuration(
        &self,
        wanted: &FunctionRef,
    ) -> Result<FunctionConfiguration, FindError> {
        let function = self.registry.find(wanted)?;
        Ok(self.settled(&function, wanted).await)
    }

    /// ListFunctions: `versions` is the query's `FunctionVersion`.
    pub async fn list(
        &self,
        marker: Option<&str>,
        page: usize,
        versions: Option<&str>,
    ) -> Result<ListFunctionsResponse, ListError> {
        let mut listed = self.registry.list(marker, page, versions)?;
        self.complete(&mut listed.functions).await;
        Ok(listed)
    }

    /// ListVersionsByFunction.
    pub async fn list_versions(
        &self,
        wanted: &FunctionRef,
        marker: Option<&str>,
        page: usize,
    ) -> Result<ListVersionsResponse, ListError> {
        let mut listed = self.registry.list_versions(wanted, marker, page)?;
        self.complete(&mut listed.versions).await;
        Ok(listed)
    }

    /// The newest log lines of a function that are kept on disk, at most `limit`, in order of time.
    pub async fn stored_logs(&self, function: &str, limit: usize) -> Vec<LogRecord> {
        self.node.stored_logs(function, limit).await
    }

    async fn settled(&self, function: &Function, wanted: &FunctionRef) -> FunctionConfiguration {
        let qualifier = wanted.qualifier.as_ref();
        let mut configuration = function.configuration(qualifier, Phase::Settled);
        configuration.snap_start.optimization_status = self.optimization_status(function).await;
        configuration
    }

    async fn optimization_status(&self, function: &Function) -> &'static str {
        let on = function.asks_for_snap_start()
            && self.node.has_snapshot(Arc::clone(&function.spec)).await;
        if on { "On" } else { "Off" }
    }

    /// Tells of each version in a list whether it starts from the snapshot that it asked for.
    async fn complete(&self, listed: &mut [FunctionConfiguration]) {
        let mut versions: Vec<Arc<Function>> = Vec::new();
        for one in listed {
            let first = versions.first();
            if first.is_none_or(|first| first.record.name != one.function_name) {
                versions = self.registry.versions_of(&one.function_name);
            }
            let mut versions = versions.iter();
            if let Some(function) = versions.find(|it| it.record.version_text() == one.version) {
                one.snap_start.optimization_status = self.optimization_status(function).await;
            }
        }
    }
}
