"""What is built of components: experiments over `dvc.yaml`, and Kubeflow pipelines."""
