"""A directory of manifests as a source of objects: read, checked as the API server would, and watched for edits."""
