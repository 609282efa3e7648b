//! Changing functions, and what follows from a change: preparing what is new, retiring what was.

use std::sync::Arc;

use control_registry::Retired;
use proto_lambda::{
    AliasConfiguration, CreateAliasRequest, CreateFunctionRequest, FunctionConfiguration,
    FunctionRef, PublishVersionRequest, TagResourceRequest, UpdateAliasRequest,
    UpdateFunctionCodeRequest, UpdateFunctionConfigurationRequest,
};
use tokio::task::JoinHandle;

use crate::{ChangeError, Service, prepare::Begun, service::detached};

impl Service {
    /// CreateFunction.
    pub async fn create(
        self: &Arc<Self>,
        request: CreateFunctionRequest,
    ) -> Result<FunctionConfiguration, ChangeError> {
        let service = Arc::clone(self);
        self.changed(async move {
            let created = service.registry.create(request).await?;
            let begun = service.begin_preparing(&created.function_name);
            Ok((created, begun))
        })
        .await
    }

    /// UpdateFunctionCode.
    pub async fn update_code(
        self: &Arc<Self>,
        wanted: FunctionRef,
        request: UpdateFunctionCodeRequest,
    ) -> Result<FunctionConfiguration, ChangeError> {
        self.after_last_change(&wanted).await;
        let service = Arc::clone(self);
        self.changed(async move {
            let (updated, retired) = service.registry.update_code(&wanted, request).await?;
            Ok((updated, service.follow_up(&wanted, retired)))
        })
        .await
    }

    /// UpdateFunctionConfiguration.
    pub async fn update_configuration(
        self: &Arc<Self>,
        wanted: FunctionRef,
        request: UpdateFunctionConfigurationRequest,
    ) -> Result<FunctionConfiguration, ChangeError> {
        self.after_last_change(&wanted).await;
        let service = Arc::clone(self);
        self.changed(async move {
            let updating = service.registry.update_configuration(&wanted, request);
            let (updated, retired) = updating.await?;
            Ok((updated, service.follow_up(&wanted, Some(retired))))
        })
        .await
    }

    /// PublishVersion.
    pub async fn publish_version(
        self: &Arc<Self>,
        wanted: FunctionRef,
        request: PublishVersionRequest,
    ) -> Result<FunctionConfiguration, ChangeError> {
        let service = Arc::clone(self);
        self.changed(async move {
            let published = service.registry.publish_version(&wanted, request).await?;
            Ok((published, service.begin_preparing(&wanted.name)))
        })
        .await
    }

    /// DeleteFunction: one version if the name is qualified, else everything.
    pub async fn delete(self: &Arc<Self>, wanted: FunctionRef) -> Result<(), ChangeError> {
        let service = Arc::clone(self);
        detached(async move {
            let retired = service.registry.delete(&wanted).await?;
            let retiring = retired.into_iter().map(|one| service.retire(one)).collect();
            if wanted.qualifier.is_none() {
                service.forget_logs(&wanted.name).await;
                tokio::spawn(async move { service.forget_last_words(&wanted, retiring).await });
            }
            Ok(())
        })
        .await
    }

    /// CreateAlias.
    pub async fn create_alias(
        &self,
        wanted: FunctionRef,
        request: CreateAliasRequest,
    ) -> Result<AliasConfiguration, ChangeError> {
        let registry = Arc::clone(&self.registry);
        detached(async move { Ok(registry.create_alias(&wanted, request).await?) }).await
    }

    /// UpdateAlias.
    pub async fn update_alias(
        &self,
        wanted: FunctionRef,
        name: String,
        request: UpdateAliasRequest,
    ) -> Result<AliasConfiguration, ChangeError> {
        let registry = Arc::clone(&self.registry);
        detached(async move { Ok(registry.update_alias(&wanted, &name, request).await?) }).await
    }

    /// DeleteAlias. An alias that is not there is deleted already.
    pub async fn delete_alias(&self, wanted: FunctionRef, name: String) -> Result<(), ChangeError> {
        let registry = Arc::clone(&self.registry);
        detached(async move { Ok(registry.delete_alias(&wanted, &name).await?) }).await
    }

    /// TagResource.
    pub async fn tag(&self, arn: String, request: TagResourceRequest) -> Result<(), ChangeError> {
        let registry = Arc::clone(&self.registry);
        detached(async move { Ok(registry.tag(&arn, request).await?) }).await
    }

    /// UntagResource.
    pub async fn untag(&self, arn: String, keys: Vec<String>) -> Result<(), ChangeError> {
        let registry = Arc::clone(&self.registry);
        detached(async move { Ok(registry.untag(&arn, &keys).await?) }).await
    }

    /// Comes to its end whoever goes away; the answer waits a little for what was begun.
    async fn changed<T: Send + 'static>(
        &self,
        change: impl Future<Output = Result<(T, Begun), ChangeError>> + Send + 'static,
    ) -> Result<T, ChangeError> {
        let (answer, begun) = detached(change).await?;
        self.wait_for(&begun).await;
        Ok(answer)
    }

    /// Has the new revisions prepared, then retires the one before.
    fn follow_up(self: &Arc<Self>, changed: &FunctionRef, retired: Option<Retired>) -> Begun {
        let begun = self.begin_preparing(&changed.name);
        if let Some(retired) = retired {
            let (service, begun) = (Arc::clone(self), begun.clone());
            tokio::spawn(async move {
                // It stands in for them until then.
                begun.settled().await;
                service.retire(retired);
            });
        }
        begun
    }

    /// Drops the log lines of a deleted function, in memory and on disk.
    async fn forget_logs(&self, name: &str) {
        self.logs().forget(name);
        self.node.remove_logs(name).await;
    }

    /// Drops what events wrote that were running when their function was deleted; unless its name has
    /// been taken again, whose lines these could be.
    async fn forget_last_words(&self, deleted: &FunctionRef, retiring: Vec<JoinHandle<()>>) {
        for one in retiring {
            let _ = one.await;
        }
        if self.registry.find(deleted).is_err() {
            self.forget_logs(&deleted.name).await;
        }
    }
}
