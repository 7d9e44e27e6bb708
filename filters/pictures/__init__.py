"""What a picture file is: headers, guarded decoding, hashes and copies."""
