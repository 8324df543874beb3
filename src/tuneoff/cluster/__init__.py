"""What running a pipeline on Kubernetes needs: follow a run, explain pending pods, check images."""
