//! `wasi:keyvalue@0.2.0-draft2`: counters are signed, cursors texts, and there is compare-and-swap.

use wasmtime::component::Resource;

use super::super::bindings::wasi::keyvalue0_2_0_draft2::{atomics, batch, store};
use super::buckets::{Bucket, BucketError, Cas, KeyValue};
use crate::state::Call;

fn error_of(error: BucketError) -> store::Error {
    match error {
        BucketError::NoSuchStore => store::Error::NoSuchStore,
        BucketError::AccessDenied => store::Error::AccessDenied,
        BucketError::Other(text) => store::Error::Other(text),
    }
}

impl store::Host for KeyValue<'_> {
    async fn open(&mut self, identifier: String) -> Result<Resource<Bucket>, BucketError> {
        self.open_bucket(&identifier)
    }

    fn convert_error(&mut self, error: BucketError) -> wasmtime::Result<store::Error> {
        Ok(error_of(error))
    }
}

impl store::HostBucket for KeyValue<'_> {
    async fn get(
        &mut self,
        bucket: Resource<Bucket>,
        key: String,
    ) -> Result<Option<Vec<u8>>, BucketError> {
        let value = self.call(&bucket, Call::Get { key }).await?.into_value();
        Ok(value.map(|(value, _)| value))
    }

    async fn set(
        &mut self,
        bucket: Resource<Bucket>,
        key: String,
        value: Vec<u8>,
    ) -> Result<(), BucketError> {
        self.call(&bucket, Call::Set { key, value }).await.map(drop)
    }

    async fn delete(&mut self, bucket: Resource<Bucket>, key: String) -> Result<(), BucketError> {
        let expected = None;
        self.call(&bucket, Call::Delete { key, expected })
            .await
            .map(drop)
    }

    async fn exists(&mut self, bucket: Resource<Bucket>, key: String) -> Result<bool, BucketError> {
        Ok(self.call(&bucket, Call::Exists { key }).await?.existed())
    }

    async fn list_keys(
        &mut self,
        bucket: Resource<Bucket>,
        cursor: Option<String>,
    ) -> Result<store::KeyResponse, BucketError> {
        let foreign = |_| BucketError::Other("the cursor is not one that list-keys gave".into());
        let cursor = match cursor {
            Some(text) => Some(text.parse().map_err(foreign)?),
            None => None,
        };
        let (keys, cursor) = self
            .call(&bucket, Call::ListKeys { cursor })
            .await?
            .into_keys();
        let cursor = cursor.map(|cursor| cursor.to_string());
        Ok(store::KeyResponse { keys, cursor })
    }

    async fn drop(&mut self, bucket: Resource<Bucket>) -> wasmtime::Result<()> {
        self.table.delete(bucket)?;
        Ok(())
    }
}

impl atomics::Host for KeyValue<'_> {
    async fn increment(
        &mut self,
        bucket: Resource<Bucket>,
        key: String,
        delta: i64,
    ) -> Result<i64, BucketError> {
        let sums = i64::MIN..;
        let call = Call::Increment { key, delta, sums };
        Ok(self.call(&bucket, call).await?.number())
    }

    async fn swap(
        &mut self,
        cas: Resource<Cas>,
        value: Vec<u8>,
    ) -> wasmtime::Result<Result<(), atomics::CasError>> {
        Ok(match KeyValue::swap(self, cas, value).await {
            Ok(None) => Ok(()),
            Ok(Some(now)) => Err(atomics::CasError::CasFailed(now)),
            Err(error) => Err(atomics::CasError::StoreError(error_of(error))),
        })
    }
}

impl atomics::HostCas for KeyValue<'_> {
    async fn new(
        &mut self,
        bucket: Resource<Bucket>,
        key: String,
    ) -> Result<Resource<Cas>, BucketError> {
        self.new_cas(&bucket, key).await
    }

    async fn current(&mut self, cas: Resource<Cas>) -> Result<Option<Vec<u8>>, BucketError> {
        KeyValue::current(self, &cas)
    }

    async fn drop(&mut self, cas: Resource<Cas>) -> wasmtime::Result<()> {
        self.drop_cas(cas)?;
        Ok(())
    }
}

impl batch::Host for KeyValue<'_> {
    async fn get_many(
        &mut self,
        bucket: Resource<Bucket>,
        keys: Vec<String>,
    ) -> Result<Vec<(String, Option<Vec<u8>>)>, BucketError> {
        let call = Call::GetMany { keys: keys.clone() };
        let values = self.call(&bucket, call).await?.into_values();
        Ok(keys.into_iter().zip(values).collect())
    }

    async fn set_many(
        &mut self,
        bucket: Resource<Bucket>,
        pairs: Vec<(String, Vec<u8>)>,
    ) -> Result<(), BucketError> {
        self.call(&bucket, Call::SetMany { pairs }).await.map(drop)
    }

    async fn delete_many(
        &mut self,
        bucket: Resource<Bucket>,
        keys: Vec<String>,
    ) -> Result<(), BucketError> {
        self.call(&bucket, Call::DeleteMany { keys })
            .await
            .map(drop)
    }
}
