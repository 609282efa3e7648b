//! Changing functions, and what follows from a change: preparing what is new, retiring what was.

use std::sync::Arc;

use control_registry::{AliasError, ChangeError, DeleteError, Retired};
use proto_lambda::{
    AliasConfiguration, CreateAliasRequest, CreateFunctionRequest, FunctionConfiguration,
    FunctionRef, PublishVersionRequest, TagResourceRequest, UpdateAliasRequest,
    UpdateFunctionCodeRequest, UpdateFunctionConfigurationRequest,
};
use tokio::task::JoinHandle;

use crate::{NotChanged, Service, prepare::Begun, service::detached};

impl Service {
    /// CreateFunction.
    pub async fn create(
        self: &Arc<Self>,
        request: CreateFunctionRequest,
    ) -> Result<FunctionConfiguration, NotChanged<ChangeError>> {
        let service = Arc::clone(self);
        self.changed(async move {
            let creating = service.registry.create(request).await;
            let created = creating.map_err(NotChanged::Refused)?;
            service.hand_out_code(&created.function_name).await;
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
    ) -> Result<FunctionConfiguration, NotChanged<ChangeError>> {
        self.after_last_change(&wanted).await;
        let service = Arc::clone(self);
        self.changed(async move {
            let updating = service.registry.update_code(&wanted, request).await;
            let (updated, retired) = updating.map_err(NotChanged::Refused)?;
            service.hand_out_code(&wanted.name).await;
            Ok((updated, service.follow_up(&wanted, retired)))
        })
        .await
    }

    /// UpdateFunctionConfiguration.
    pub async fn update_configuration(
        self: &Arc<Self>,
        wanted: FunctionRef,
        request: UpdateFunctionConfigurationRequest,
    ) -> Result<FunctionConfiguration, NotChanged<ChangeError>> {
        self.after_last_change(&wanted).await;
        let service = Arc::clone(self);
        self.changed(async move {
            let updating = service.registry.update_configuration(&wanted, request);
            let (updated, retired) = updating.await.map_err(NotChanged::Refused)?;
            Ok((updated, service.follow_up(&wanted, Some(retired))))
        })
        .await
    }

    /// PublishVersion.
    pub async fn publish_version(
        self: &Arc<Self>,
        wanted: FunctionRef,
        request: PublishVersionRequest,
    ) -> Result<FunctionConfiguration, NotChanged<ChangeError>> {
        let service = Arc::clone(self);
        self.changed(async move {
            let publishing = service.registry.publish_version(&wanted, request);
            let published = publishing.await.map_err(NotChanged::Refused)?;
            Ok((published, service.begin_preparing(&wanted.name)))
        })
        .await
    }

    /// DeleteFunction: one version if the name is qualified, else everything.
    pub async fn delete(
        self: &Arc<Self>,
        wanted: FunctionRef,
    ) -> Result<(), NotChanged<DeleteError>> {
        let service = Arc::clone(self);
        detached(async move {
            let deleting = service.registry.delete(&wanted).await;
            let retired = deleting.map_err(NotChanged::Refused)?;
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
    ) -> Result<AliasConfiguration, NotChanged<AliasError>> {
        let registry = Arc::clone(&self.registry);
        refusable(async move { registry.create_alias(&wanted, request).await }).await
    }

    /// UpdateAlias.
    pub async fn update_alias(
        &self,
        wanted: FunctionRef,
        name: String,
        request: UpdateAliasRequest,
    ) -> Result<AliasConfiguration, NotChanged<AliasError>> {
        let registry = Arc::clone(&self.registry);
        refusable(async move { registry.update_alias(&wanted, &name, request).await }).await
    }

    /// DeleteAlias. An alias that is not there is deleted already.
    pub async fn delete_alias(
        &self,
        wanted: FunctionRef,
        name: String,
    ) -> Result<(), NotChanged<AliasError>> {
        let registry = Arc::clone(&self.registry);
        refusable(async move { registry.delete_alias(&wanted, &name).await }).await
    }

    /// TagResource.
    pub async fn tag(
        &self,
        arn: String,
        request: TagResourceRequest,
    ) -> Result<(), NotChanged<ChangeError>> {
        let registry = Arc::clone(&self.registry);
        refusable(async move { registry.tag(&arn, request).await }).await
    }

    /// UntagResource.
    pub async fn untag(
        &self,
        arn: String,
        keys: Vec<String>,
    ) -> Result<(), NotChanged<ChangeError>> {
        let registry = Arc::clone(&self.registry);
        refusable(async move { registry.untag(&arn, &keys).await }).await
    }

    /// Comes to its end whoever goes away; the answer waits a little for what was begun.
    async fn changed<T: Send + 'static>(
        &self,
        change: impl Future<Output = Result<(T, Begun), NotChanged<ChangeError>>> + Send + 'static,
    ) -> Result<T, NotChanged<ChangeError>> {
        let (answer, begun) = detached(change).await?;
        self.wait_for(&begun).await;
        Ok(answer)
    }

    /// Gives the node the code of `$LATEST` before anybody asks it for anything of it; if that fails, whoever asks
    /// first tries again and says why not.
    async fn hand_out_code(&self, name: &str) {
        if let Some(latest) = self.registry.versions_of(name).first() {
            let _ = self.supplied.supply(&latest.spec.code).await;
        }
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

/// A change of the registry alone, on a task of its own.
async fn refusable<T, E>(
    change: impl Future<Output = Result<T, E>> + Send + 'static,
) -> Result<T, NotChanged<E>>
where
    T: Send + 'static,
    E: Send + 'static,
{
    detached(async move { change.await.map_err(NotChanged::Refused) }).await
}
